-- Stores what was loaded, if the fence lets it (DESIGN §4.6).
--
-- KEYS  per id: fence, value
-- ARGV  1 lease's owner   2 tombstone retention (ms)   3 channel of the fast plane
--       4.. per id: nonce, envelope, expiry (ms), incarnations that are over (8 bytes each)
-- Answers per id: filled | nonce-changed (the fence was lost, or a tombstone removed) | tombstone (a
-- write that the value doesn't see) | not-covered (what lies there sees more)

local channel = ARGV[3]
local answers, left = {}, {}

-- Most fills have nothing to pass: the nonce is the same, no tombstone, nothing lies there. Each
-- function costs its making, so none is made before that is known.
for i = 1, #KEYS / 2 do
  local fenceKey, valueKey, nonce = KEYS[2 * i - 1], KEYS[2 * i], ARGV[4 * i]
  local fence = redis.pcall('GET', fenceKey)
  local isBare = fence and #fence == 39 and string.sub(fence, 1, 20) == nonce
  if isBare and redis.call('SET', valueKey, ARGV[4 * i + 1], 'PX', ARGV[4 * i + 2], 'NX') then
    redis.call('DEL', fenceKey)
    if string.byte(fence, 21) == 87 then redis.call('PUBLISH', channel, valueKey) end
    answers[i] = 'filled'
  else
    answers[i] = 'not yet'
    left[#left + 1] = i
  end
end
if #left == 0 then return answers end

-- @use clock
-- @use fence
-- @use snapshot
-- @use checked-fill

local owner, retentionMs = ARGV[1], tonumber(ARGV[2])
local now = nowMs()

for _, i in ipairs(left) do
  local fenceKey, valueKey = KEYS[2 * i - 1], KEYS[2 * i]
  local nonce, bytes, expireMs, overBytes = ARGV[4 * i], ARGV[4 * i + 1], ARGV[4 * i + 2], ARGV[4 * i + 3]
  local over = {}
  for offset = 1, #overBytes, 8 do over[#over + 1] = string.sub(overBytes, offset, offset + 7) end
  local fence = readFence(fenceKey, now, retentionMs)
  answers[i] = checkedFill(fence, valueKey, nonce, bytes, expireMs, over)
  if answers[i] == 'filled' then
    redis.call('DEL', fenceKey)
  elseif fence and string.sub(fence.lease, 1, 12) == owner then
    -- Where Redis is full it refuses, and the lease lapses by itself.
    redis.pcall('SETRANGE', fenceKey, 21, string.rep('\0', 18))
  end
  if fence and fence.kind == 'W' then redis.call('PUBLISH', channel, valueKey) end
end

return answers
