#!lua flags=allow-oom
-- Notes under which xid the scan of a build begins: every write below has ended.
--
-- KEYS  1, 2 the two bitmaps   3 the record of the build
-- ARGV  1 the seed (4 bytes)   2 owner   3 generation   4 incarnation and xid (16 bytes)
-- Answers done | lost

-- @use bloom
-- @use identity
-- @use filter-build

local bitmap = ownBuild(ARGV[1], ARGV[2], ARGV[3])
if not bitmap then return 'lost' end
local head = string.sub(bitmap.head, 1, 18) .. ARGV[4] .. string.sub(bitmap.head, 35)
redis.call('SETRANGE', bitmap.key, 0, sealed(head))
redis.call('HSET', KEYS[3], 'start', ARGV[4])
return 'done'
