-- Asks for the right to fill ids that were missed (DESIGN §4.4).
--
-- KEYS  per id: fence, value
-- ARGV  1 incarnation (8 bytes)   2 lease's owner   3 lease (ms)   4 tombstone retention (ms)
--       5 '1' if a present value won't do, else '0'
--       6.. per id: a nonce, should the fence need one
-- Answers per id, tombstones as in fence.lua
--       {'value', bytes}                                filled meanwhile
--       {'lease', nonce, tombstones}                    you load
--       {'wait', ms until the lease lapses, tombstones} somebody else loads
-- then, last, Redis' clock in ms.

-- @use clock

local owner, leaseMs, retentionMs, insist = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5] == '1'
local now = nowMs()
local lease = owner .. struct.pack('>I6', now + leaseMs)
local answers, left = {}, {}

-- Most misses find nothing. Each function costs its making, so none is made before that is known.
for i = 1, #KEYS / 2 do
  local fenceKey, valueKey, nonce = KEYS[2 * i - 1], KEYS[2 * i], ARGV[5 + i]
  if redis.call('EXISTS', fenceKey, insist and fenceKey or valueKey) == 0 then
    redis.call('SET', fenceKey, nonce .. 'F' .. lease, 'PX', retentionMs)
    answers[i] = { 'lease', nonce, '' }
  else
    answers[i] = 'not yet'
    left[#left + 1] = i
  end
end
answers[#answers + 1] = now
if #left == 0 then return answers end

-- @use fence
-- @use snapshot

local incarnation = ARGV[1]

for _, i in ipairs(left) do
  local fenceKey, valueKey, nonce = KEYS[2 * i - 1], KEYS[2 * i], ARGV[5 + i]
  local present = not insist and snapshotAt(valueKey)
  if present and present.incarnation == incarnation and present.softExpiry > now then
    answers[i] = { 'value', redis.call('GET', valueKey) }
  else
    local fence = openFence(fenceKey, now, tonumber(retentionMs), nonce)
    local holder, untilMs = struct.unpack('>c12I6', fence.lease)
    if untilMs > now and holder ~= owner then
      fence.kind = 'W'
      answers[i] = { 'wait', untilMs - now, tombstonesOf(fence) }
    else
      fence.lease = lease
      answers[i] = { 'lease', fence.nonce, tombstonesOf(fence) }
    end
    writeFence(fenceKey, fence, retentionMs)
  end
end

return answers
