#!lua
-- Sets the bits of a part in what is built, and remembers how far the scan is.
--
-- KEYS  1, 2 the two bitmaps   3 the record of the build   4 the part: zeros for the header, then bits
-- ARGV  1 the seed (4 bytes)   2 owner   3 generation   4 expiry of what is built (ms)   5 progress
-- Answers done | lost | gone (the part: evicted, or expired)

-- @use bloom
-- @use identity
-- @use filter-build

local bitmap = ownBuild(ARGV[1], ARGV[2], ARGV[3])
if not bitmap then return 'lost' end
-- What is too short counts as zeros, and its ids would be missing.
if redis.call('STRLEN', KEYS[4]) ~= bitmap.bytes then return 'gone' end
redis.call('BITOP', 'OR', bitmap.key, bitmap.key, KEYS[4])
redis.call('UNLINK', KEYS[4])
redis.call('HSET', KEYS[3], 'progress', ARGV[5])
-- BITOP leaves none.
redis.call('PEXPIRE', bitmap.key, ARGV[4])
redis.call('PEXPIRE', KEYS[3], ARGV[4])
return 'done'
