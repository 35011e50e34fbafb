#!lua flags=allow-cross-slot-keys
-- Asks for the right to fill ids that were missed (DESIGN §4.4).
--
-- KEYS  per id: fence, value; last, the barrier, unless that is in ARGV
-- ARGV  1 incarnation (8 bytes)   2 lease's owner   3 lease (ms)   4 tombstone retention (ms)
--       5 '1' if a present value won't do, else '0'
--       6 on a cluster the barrier of this node, whose slot may be another ('': none is known)
--       7.. per id: a nonce, should the fence need one
-- Answers per id, tombstones as in fence.lua
--       {'value', bytes, the barrier's bytes or ''}      filled meanwhile
--       {'lease', nonce, tombstones}                    you load
--       {'wait', ms until the lease lapses, tombstones} somebody else loads
-- then, last, Redis' clock in ms.

-- @use clock

local owner, leaseMs, retentionMs, insist = ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5] == '1'
local now = nowMs()
local lease = owner .. struct.pack('>I6', now + leaseMs)
local answers, left = {}, {}

-- Most misses find nothing. Each function costs its making, so none is made before that is known.
for i = 1, math.floor(#KEYS / 2) do
  local fenceKey, valueKey, nonce = KEYS[2 * i - 1], KEYS[2 * i], ARGV[6 + i]
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
-- @use covers
-- @use barrier-record

local incarnation = ARGV[1]
local barrier, generation

-- Reads the barrier for the first value that is found: most calls find none.
local function isOutlived(snapshot)
  if not barrier then
    local key = #KEYS % 2 == 1 and KEYS[#KEYS] or ARGV[6]
    local bytes = key ~= '' and redis.pcall('GET', key)
    barrier = type(bytes) == 'string' and bytes or ''
    local record = barrierRecordIn(barrier)
    generation = record and record.generation ~= '' and snapshotInPart(record.generation)
  end
  return generation
    and generation.incarnation == snapshot.incarnation
    and not covers(snapshot, generation)
end

for _, i in ipairs(left) do
  local fenceKey, valueKey, nonce = KEYS[2 * i - 1], KEYS[2 * i], ARGV[6 + i]
  local present = not insist and snapshotAt(valueKey)
  local isFresh = present and present.incarnation == incarnation and present.softExpiry > now
  if isFresh and not isOutlived(present) then
    answers[i] = { 'value', redis.call('GET', valueKey), barrier }
  else
    local fence = openFence(fenceKey, now, tonumber(retentionMs), nonce)
    local holder, untilMs = struct.unpack('>c12I6', fence.lease)
    -- No lease is that long: Redis' clock was set back since, and who had it may be gone.
    local isHeld = untilMs > now and untilMs - now <= math.max(10000, 64 * leaseMs)
    if isHeld and holder ~= owner then
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
