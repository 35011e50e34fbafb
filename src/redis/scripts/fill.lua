-- Stores what was loaded, if the fence lets it (DESIGN §4.6).
--
-- KEYS  per id: fence, value
-- ARGV  1 lease's owner   2 tombstone retention (ms)   3 channel of the fast plane
--       4.. per id: nonce, envelope, expiry (ms), incarnations that are over (8 bytes each)
-- Answers per id: filled | nonce-changed (the fence was lost, or a tombstone removed) | tombstone (a
-- write that the value doesn't see) | not-covered (what lies there sees more)

local owner, retentionMs, channel = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local now = nowMs()
local answers = {}

for i = 1, #KEYS / 2 do
  local fenceKey, valueKey = KEYS[2 * i - 1], KEYS[2 * i]
  local nonce, bytes, expireMs, overBytes = ARGV[4 * i], ARGV[4 * i + 1], tonumber(ARGV[4 * i + 2]), ARGV[4 * i + 3]
  local over = {}
  for offset = 1, #overBytes, 8 do over[#over + 1] = string.sub(overBytes, offset, offset + 7) end
  local fence = readFence(fenceKey, now, retentionMs)
  answers[i] = fillOne(fenceKey, valueKey, fence, nonce, bytes, expireMs, over)
  if answers[i] ~= 'filled' and fence and fence.owner == owner then
    redis.call('HDEL', fenceKey, 'l', 'u')
  end
  if fence and fence.isAwaited then redis.call('PUBLISH', channel, valueKey) end
end

return answers
