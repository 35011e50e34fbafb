-- Gives leases back that won't be filled, so that nobody waits for them.
--
-- KEYS  per id: fence, value
-- ARGV  1 lease's owner   2 channel of the fast plane
-- Answers the number of leases given back.

local owner, channel = ARGV[1], ARGV[2]
local released = 0

for i = 1, #KEYS / 2 do
  local fenceKey, valueKey = KEYS[2 * i - 1], KEYS[2 * i]
  local held = redis.pcall('HMGET', fenceKey, 'l', 'w') -- an error answer where something else lies has no fields
  if held[1] == owner then
    redis.call('HDEL', fenceKey, 'l', 'u', 'w')
    released = released + 1
    if held[2] then redis.call('PUBLISH', channel, valueKey) end
  end
end

return released
