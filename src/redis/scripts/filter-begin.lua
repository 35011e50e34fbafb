#!lua
-- Takes the lease of a builder (DESIGN §8): of a build that was left, or of a new one, whose bitmap is
-- declared. Where Redis is full nothing is done.
--
-- KEYS  1, 2 the two bitmaps   3 the record of the build   4 the wish for one
-- ARGV  1 the seed (4 bytes)   2 owner   3 lease (ms)   4 expiry of what is built (ms)   5 bits   6 places
--       7 the least and 8 the most bits of a build that is gone on with   9 progress of a new one
-- Answers {'held'}
--         {'declared', generation}
--         {'resumed', generation, bits, start, progress}

-- @use clock
-- @use bloom
-- @use identity
-- @use filter-build

local seed, owner, leaseMs, lifeMs = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local bits, places = tonumber(ARGV[5]), tonumber(ARGV[6])
local now = nowMs()
local record = buildRecord()
if record and isHeld(record, now) then return { 'held' } end

local left = record and record.start and beingBuilt(record, seed)
local fits = left and left.places == places and left.bits >= tonumber(ARGV[7]) and left.bits <= tonumber(ARGV[8])
if fits then
  redis.call('HSET', KEYS[3], 'owner', owner, 'until', now + leaseMs)
  redis.call('DEL', KEYS[4])
  return { 'resumed', left.generation, left.bits, record.start, record.progress }
end

-- By the clock it is another than that of a bitmap that was evicted, or lost in a failover.
local generation = math.floor(now / 1000)
for slot = 1, 2 do
  local bitmap = bitmapAt(KEYS[slot], seed)
  if bitmap and bitmap.generation >= generation then generation = bitmap.generation + 1 end
end
local current = newestReady(KEYS[1], KEYS[2], seed)
local slot = current and current.key == KEYS[1] and 1 or 0
local key = KEYS[slot + 1]
redis.call('UNLINK', key)
local made = redis.pcall('SETRANGE', key, filterHeaderBytes + bits / 8 - 1, '\0')
if type(made) == 'table' then return made end
local shape = struct.pack('>BI6I4', places, bits, generation)
local rest = string.rep('\0', 16) .. identityOfServer() .. struct.pack('>I6I6', now, 0)
redis.call('SETRANGE', key, 0, sealed('F\1b' .. shape .. seed .. rest .. string.rep('\0', 6)))
redis.call('PEXPIRE', key, lifeMs)
redis.call('DEL', KEYS[3], KEYS[4])
redis.call(
  'HSET', KEYS[3], 'owner', owner, 'until', now + leaseMs,
  'generation', generation, 'slot', slot, 'progress', ARGV[9]
)
redis.call('PEXPIRE', KEYS[3], lifeMs)
return { 'declared', generation }
