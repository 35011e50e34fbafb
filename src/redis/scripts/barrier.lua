#!lua flags=allow-oom
-- Says that this node has been told of all that the barrier sees, if it is still the server that the
-- last barrier was written to (docs/decisions/0010).
--
-- KEYS  1 the barrier of this node
-- ARGV  1 the barrier   2 expiry (ms)   3 owner
--       4 the identity under which the caller has last written a barrier of the same incarnation here
--       ('': never), and 5 the generation that it found then
-- Answers {'written', identity, generation}
--         {'changed', identity, generation, found}   the barrier that was found here ('': none)

-- @use barrier-record
-- @use identity
-- @use barrier-node

local barrier = ARGV[1]
local identity = identityOfServer()
local record = barrierRecordIn(redis.pcall('GET', KEYS[1]))

if not record then
  -- Evicted or flushed: this server has not been rolled back since.
  if identity == ARGV[4] then return written(identity, barrier, ARGV[5]) end
  return changed(identity)
end
local isSame = record.isValid and record.identity == identity
if not isSame or incarnationOf(record.barrier) ~= incarnationOf(barrier) then
  return changed(identity, record)
end
-- A slower caller's is as true, but proves less.
return written(identity, newest(record.barrier, barrier), record.generation)
