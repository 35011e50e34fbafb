#!lua flags=allow-oom
-- Puts off the end of leases whose loads still run.
--
-- KEYS  per id: fence
-- ARGV  1 lease's owner   2 lease (ms)   3.. per id: the nonce
-- Answers per id: held | lost (to somebody else, by a fill, or with the fence)

-- @use clock

local owner, leaseMs = ARGV[1], tonumber(ARGV[2])
local untilMs = struct.pack('>I6', nowMs() + leaseMs)
local answers = {}

for i = 1, #KEYS do
  local fence = redis.pcall('GETRANGE', KEYS[i], 0, 32)
  local isHeld = type(fence) == 'string'
    and string.sub(fence, 1, 20) == ARGV[2 + i]
    and string.sub(fence, 22) == owner
  if isHeld then redis.call('SETRANGE', KEYS[i], 33, untilMs) end
  answers[i] = isHeld and 'held' or 'lost'
end

return answers
