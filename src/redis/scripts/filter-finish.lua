#!lua flags=allow-oom
-- From now on what was built answers, and the one before is dropped.
--
-- KEYS  1, 2 the two bitmaps   3 the record of the build
-- ARGV  1 the seed (4 bytes)   2 owner   3 generation   4 its expiry (ms)
-- Answers done | lost

-- @use bloom
-- @use identity
-- @use filter-build

local bitmap = ownBuild(ARGV[1], ARGV[2], ARGV[3])
if not bitmap then return 'lost' end
local setBits = redis.call('BITCOUNT', bitmap.key, filterHeaderBytes, -1)
local head = bitmap.head
head = 'F\1r' .. string.sub(head, 4, 60) .. struct.pack('>I6', setBits) .. string.sub(head, 67)
redis.call('SETRANGE', bitmap.key, 0, sealed(head))
redis.call('PEXPIRE', bitmap.key, ARGV[4])
redis.call('UNLINK', bitmap.key == KEYS[1] and KEYS[2] or KEYS[1])
redis.call('DEL', KEYS[3])
return 'done'
