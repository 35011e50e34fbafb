-- Flags, for those who can't ask PostgreSQL (DESIGN §9).
--
-- KEYS  1 what PostgreSQL had: its revision, a line break, a document   2 changes without it, a line each
-- ARGV  1 'keep' or 'change'   2 what is kept or changed, as it lies there   3 expiry (ms)   4 most bytes of changes
-- Answers kept, newer (something newer lies there), changed or full.

local act, bytes, expireMs = ARGV[1], ARGV[2], ARGV[3]

if act == 'keep' then
  local present = redis.call('GET', KEYS[1])
  local have = present and tonumber(string.match(present, '^%d+'))
  if have and have > tonumber(string.match(bytes, '^%d+')) then return 'newer' end
  redis.call('SET', KEYS[1], bytes, 'PX', expireMs)
  redis.call('DEL', KEYS[2])
  return 'kept'
end

local changes = redis.call('GET', KEYS[2])
local all = changes and changes .. '\n' .. bytes or bytes
if #all > tonumber(ARGV[4]) then return 'full' end
redis.call('SET', KEYS[2], all, 'PX', expireMs)
return 'changed'
