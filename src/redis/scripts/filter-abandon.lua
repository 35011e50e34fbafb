#!lua flags=allow-oom
-- Drops what was built, and the lease with it.
--
-- KEYS  1, 2 the two bitmaps   3 the record of the build
-- ARGV  1 the seed (4 bytes)   2 owner   3 generation
-- Answers done | lost

-- @use bloom
-- @use identity
-- @use filter-build

local record = buildRecord()
if not record or record.owner ~= ARGV[2] then return 'lost' end
local bitmap = bitmapAt(record.key, ARGV[1])
if bitmap and not bitmap.isReady and bitmap.generation == record.generation then
  redis.call('UNLINK', bitmap.key)
end
redis.call('DEL', KEYS[3])
return 'done'
