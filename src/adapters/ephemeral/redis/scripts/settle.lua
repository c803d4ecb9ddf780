-- Says what came of a text, if its id is still taken by this ticket.
-- KEYS: the id. ARGV: ticket, "sent" or "free".
local kept = redis.call('GET', KEYS[1])
if not kept then return 0 end
local head, state, owner = string.match(kept, '^(%x+ %-?%d+) (%a+) (.+)$')
if state ~= 'sending' or owner ~= ARGV[1] then return 0 end
if ARGV[2] == 'free' then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], head .. ' sent ' .. owner, 'KEEPTTL')
return 1
