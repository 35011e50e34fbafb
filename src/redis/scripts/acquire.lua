-- Asks for the right to fill ids that were missed (DESIGN §4.4).
--
-- KEYS  per id: fence, value
-- ARGV  1 incarnation (8 bytes)   2 lease's owner   3 lease (ms)   4 tombstone retention (ms)
--       5 '1' if a present value won't do, else '0'
--       6.. per id: a nonce, should the fence need one
-- Answers per id
--       {'value', bytes}                                  filled meanwhile
--       {'lease', nonce, field, field…}                   you load; fields are tombstones
--       {'wait', ms until the lease lapses, field, …}     somebody else loads
-- then, last, Redis' clock in ms.

local incarnation, owner, leaseMs, retentionMs = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local insist = ARGV[5] == '1'
local now = nowMs()
local answers = {}

for i = 1, #KEYS / 2 do
  local fenceKey, valueKey = KEYS[2 * i - 1], KEYS[2 * i]
  local answer
  if not insist then
    local present = snapshotAt(valueKey)
    if present and present.incarnation == incarnation and present.softExpiry > now then
      answer = { 'value', redis.call('GET', valueKey) }
    end
  end
  if not answer then
    local fence = openFence(fenceKey, now, retentionMs, ARGV[5 + i])
    if fence.untilMs and fence.untilMs > now and fence.owner ~= owner then
      redis.call('HSET', fenceKey, 'w', '1')
      answer = { 'wait', text(fence.untilMs - now) }
    else
      redis.call('HSET', fenceKey, 'l', owner, 'u', text(now + leaseMs))
      answer = { 'lease', fence.nonce }
    end
    for _, tombstone in ipairs(fence.tombstones) do answer[#answer + 1] = tombstone.field end
  end
  answers[i] = answer
end

answers[#answers + 1] = text(now)
return answers
