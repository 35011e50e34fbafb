#!lua flags=no-writes,allow-cross-slot-keys
-- Values of one node of a cluster, and its barrier, at one instant (DESIGN §6).
--
-- KEYS  values of one slot
-- ARGV  1 the barrier of this node, whose slot may be another ('': none is known)
--       2.. more values, whose slots may be others
-- Answers per value, first those of KEYS: its bytes, nil, or 0 where it can't be told here because its
-- slot is another node's by now, or on its way; then, last, the bytes of the barrier or nil.

local answers = redis.call('MGET', unpack(KEYS))
for i = 2, #ARGV do
  local bytes = redis.pcall('GET', ARGV[i])
  answers[#KEYS + i - 1] = type(bytes) == 'table' and 0 or bytes
end
local barrier = ARGV[1] ~= '' and redis.pcall('GET', ARGV[1])
answers[#KEYS + math.max(#ARGV, 1)] = type(barrier) == 'string' and barrier
return answers
