-- Stores what was loaded, if the fence lets it (DESIGN §4.6).
--
-- KEYS  per id: fence, value
-- ARGV  1 lease's owner (12 bytes), tombstone retention (ms), a space, channel of the fast plane
--       2.. per id: nonce (20 bytes) and incarnations that are over (8 bytes each); envelope; expiry (ms)
-- Answers per id: filled | nonce-changed (the fence was lost, or a tombstone removed) | tombstone (a
-- write that the value doesn't see) | not-covered (what lies there sees more)

local answers, left = {}, {}

local function wake(valueKey)
  redis.call('PUBLISH', string.match(ARGV[1], ' (.*)$'), valueKey)
end

-- Most fills have nothing to pass: the nonce is the same, no tombstone, nothing lies there. An argument
-- costs its reading, a function its making: nothing is made before it is known to be needed.
for i = 1, #KEYS / 2 do
  local fenceKey, valueKey, nonce = KEYS[2 * i - 1], KEYS[2 * i], string.sub(ARGV[3 * i - 1], 1, 20)
  local fence = redis.pcall('GET', fenceKey)
  local isBare = fence and #fence == 39 and string.sub(fence, 1, 20) == nonce
  if isBare and redis.call('SET', valueKey, ARGV[3 * i], 'PX', ARGV[3 * i + 1], 'NX') then
    redis.call('DEL', fenceKey)
    if string.byte(fence, 21) == 87 then wake(valueKey) end
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
-- @use covers
-- @use checked-fill

local owner, retentionMs = string.sub(ARGV[1], 1, 12), tonumber(string.match(ARGV[1], '^(%d+) ', 13))
local now = nowMs()

for _, i in ipairs(left) do
  local fenceKey, valueKey = KEYS[2 * i - 1], KEYS[2 * i]
  local claim, bytes, expireMs = ARGV[3 * i - 1], ARGV[3 * i], ARGV[3 * i + 1]
  local nonce, over = string.sub(claim, 1, 20), {}
  for offset = 21, #claim, 8 do over[#over + 1] = string.sub(claim, offset, offset + 7) end
  local fence = readFence(fenceKey, now, retentionMs)
  answers[i] = checkedFill(fence, valueKey, nonce, bytes, expireMs, over)
  if answers[i] == 'filled' then
    redis.call('DEL', fenceKey)
  elseif fence and string.sub(fence.lease, 1, 12) == owner then
    -- Where Redis is full it refuses, and the lease lapses by itself.
    redis.pcall('SETRANGE', fenceKey, 21, string.rep('\0', 18))
  end
  if fence and fence.kind == 'W' then wake(valueKey) end
end

return answers
