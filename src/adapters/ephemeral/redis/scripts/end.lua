-- Ends a flight, if it is still the one of this ticket.
-- KEYS: the flight. ARGV: the ticket.
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
