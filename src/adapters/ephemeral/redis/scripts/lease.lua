-- Takes calls out of a partner's bucket: domain::rate::Bucket::lease, in one round trip.
-- KEYS: the bucket. ARGV: calls a second, burst, calls wanted, now, how far the bucket may be ahead, how long it is kept;
-- times in milliseconds. Answers the calls granted.
local per_second, full, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]) * 1000, tonumber(ARGV[3])
local now, ahead_max, ttl = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]

local kept = redis.call('GET', KEYS[1])
local level, at = full, now
if kept then
  local words = {string.match(kept, '^(%d+) (-?%d+)$')}
  level, at = tonumber(words[1]), tonumber(words[2])
end
local filled_to = math.max(at, now)
if at - now > ahead_max then filled_to = now end
level = math.min(level + math.max(filled_to - at, 0) * per_second, full)
local granted = math.min(math.floor(level / 1000), wanted)
redis.call('SET', KEYS[1], string.format('%.0f %.0f', level - granted * 1000, filled_to), 'PX', ttl)
return granted
