-- Judges a try and keeps what is left of the PIN: domain::pin::redeem, in one round trip. Digests are keyed, so that the
-- time of comparing them tells nobody anything.
-- KEYS: the number, its proofs. ARGV: partner, offered digest, now, how long a proof is kept (0: not at all); times in
-- milliseconds. Answers 1 where it is right, else 0.
local partner, offered, now, proof_ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

local kept = redis.call('GET', KEYS[1])
local number = kept and cmsgpack.unpack(kept)
local pin = number and number.p[partner]
if not pin then return 0 end

local lives = now < pin[2] and pin[3] > 0
if lives and pin[1] == offered then
  if proof_ttl > 0 then
    redis.call('HSET', KEYS[2], partner, ARGV[3])
    redis.call('PEXPIRE', KEYS[2], proof_ttl)
  end
  return 1
end

pin[3] = pin[3] - 1
if not lives or pin[3] <= 0 then number.p[partner] = nil end
redis.call('SET', KEYS[1], cmsgpack.pack(number), 'KEEPTTL')
return 0
