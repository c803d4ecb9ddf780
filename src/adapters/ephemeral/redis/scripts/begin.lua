-- Begins a flight, unless somebody else is on it or the same request was answered a short while ago.
-- KEYS: the flight, the answer. ARGV: the ticket, for how many milliseconds, digest of the request or nothing.
-- Answers 1 where it has begun, 0 where it is underway, else the answer that is known.
if ARGV[3] ~= '' then
  local kept = redis.call('GET', KEYS[2])
  if kept and string.sub(kept, 1, #ARGV[3]) == ARGV[3] then return string.sub(kept, #ARGV[3] + 1) end
end
local held = redis.call('SET', KEYS[1], ARGV[1], 'NX', 'GET', 'PX', ARGV[2])
-- A Cluster's client may send a command again whose answer was lost: then it is our own that is found.
if held and held ~= ARGV[1] then return 0 end
return 1
