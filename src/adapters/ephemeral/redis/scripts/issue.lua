-- Keeps a new PIN if the quotas allow one more send, and counts the send: domain::pin::admit_sends, in one round trip.
-- KEYS: the number. ARGV: partner, digest, expiry, tries, most sends of the partner, most sends of all, window, now,
-- grace; times in milliseconds. Answers the seconds to wait, or 0 where it is kept.
local partner, digest, expires_at, tries = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local own_max, all_max = tonumber(ARGV[5]), tonumber(ARGV[6])
local window, now, grace = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])

local kept = redis.call('GET', KEYS[1])
local number = kept and cmsgpack.unpack(kept) or {w = 0, s = {}, p = {}}
local longest = math.max(number.w, window)
local sends = {}
for _, send in ipairs(number.s) do
  if now - send[1] < longest then sends[#sends + 1] = send end
end

local function seconds_to_wait(sends_max, owner)
  local counted = {}
  for _, send in ipairs(sends) do
    local counts = now - send[1] < window
    if counts and (owner == nil or send[2] == owner) then counted[#counted + 1] = send[1] end
  end
  local blocking = counted[#counted - sends_max + 1]
  if #counted < sends_max or blocking == nil then return 0 end
  local passed = math.max(math.floor((now - blocking) / 1000), 0)
  return math.max(math.floor(window / 1000) - passed, 1)
end

local wait = math.max(seconds_to_wait(own_max, partner), seconds_to_wait(all_max, nil))
if wait > 0 then return wait end

-- Two gateways' clocks may tell them another order than this one.
local place = #sends + 1
while place > 1 and sends[place - 1][1] > now do place = place - 1 end
table.insert(sends, place, {now, partner})

local pins = {}
for owner, pin in pairs(number.p) do
  if pin[2] > now then pins[owner] = pin end
end
pins[partner] = {digest, expires_at, tries}

local due = sends[#sends][1] + longest
for _, pin in pairs(pins) do due = math.max(due, pin[2]) end
local ttl = string.format('%d', math.max(due - now, 0) + grace)
redis.call('SET', KEYS[1], cmsgpack.pack({w = longest, s = sends, p = pins}), 'PX', ttl)
return 0
