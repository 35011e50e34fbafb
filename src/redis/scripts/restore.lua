#!lua flags=allow-oom
-- Says that this node has been told again of what it may have forgotten, if it is still the server
-- that was seen at the change (docs/decisions/0010).
--
-- KEYS  1 the barrier of this node
-- ARGV  1 the barrier   2 expiry (ms)   3 owner   4 identity seen at the change
--       5 the generation that values have to cover from now on ('': those of before remain)
--       6 '1' if the caller knows which generation was found at the change, and 7 which
-- Answers as barrier.lua

-- @use barrier-record
-- @use identity
-- @use barrier-node

local barrier, generation = ARGV[1], ARGV[5]
local identity = identityOfServer()
local record = barrierRecordIn(redis.pcall('GET', KEYS[1]))
-- Evicted or flushed since: this server has not been rolled back.
if not record and ARGV[6] == '1' then
  record = { identity = ARGV[4], barrier = '', generation = ARGV[7] }
end

local isHere = record and record.identity == identity
-- Somebody else has restored it already.
if isHere and record.isValid and incarnationOf(record.barrier) == incarnationOf(barrier) then
  return written(identity, newest(record.barrier, barrier), record.generation)
end
if not isHere or identity ~= ARGV[4] then return changed(identity, record) end
-- Values of another incarnation than the barrier's are unproven without a generation.
local known = record.generation
if known ~= '' and incarnationOf(known) ~= incarnationOf(barrier) then known = '' end
return written(identity, barrier, generation == '' and known or newest(known, generation))
