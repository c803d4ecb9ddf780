-- Takes the id of a notification: domain::notification::claim, in one round trip.
-- KEYS: the id. ARGV: digest of the content, ticket, now, until when the id is taken, how long it is kept; times in
-- milliseconds. Answers what the request may do.
local content, ticket, now = ARGV[1], ARGV[2], tonumber(ARGV[3])

local kept = redis.call('GET', KEYS[1])
if kept then
  local taken, till, state, owner = string.match(kept, '^(%x+) (-?%d+) (%a+) (.+)$')
  if now < tonumber(till) then
    if taken ~= content then return 'used' end
    if state == 'sent' then return 'sent' end
    -- A Cluster's client may send a command again whose answer was lost: then it is our own that is found.
    if owner ~= ticket then return 'undecided' end
  end
end
redis.call('SET', KEYS[1], content .. ' ' .. ARGV[4] .. ' sending ' .. ticket, 'PX', ARGV[5])
return 'begun'
