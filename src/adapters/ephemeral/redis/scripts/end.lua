-- Ends a flight, if it is still the one of this ticket, and keeps the final answer that it has come to.
-- KEYS: the flight, the answer. ARGV: the ticket; and of an answer the digest of its request, its words, and for how
-- many milliseconds it is kept. It is in the ledger, so that it is right whoever has the flight by now.
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
if ARGV[2] then redis.call('SET', KEYS[2], ARGV[2] .. ARGV[3], 'PX', ARGV[4]) end
return 1
