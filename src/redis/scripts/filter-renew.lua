#!lua flags=allow-oom
-- Puts the end of a builder's lease off.
--
-- KEYS  1, 2 the two bitmaps   3 the record of the build
-- ARGV  1 the seed (4 bytes)   2 owner   3 generation   4 lease from now (ms)
-- Answers done | lost

-- @use clock
-- @use bloom
-- @use identity
-- @use filter-build

if not ownBuild(ARGV[1], ARGV[2], ARGV[3]) then return 'lost' end
redis.call('HSET', KEYS[3], 'until', nowMs() + tonumber(ARGV[4]))
return 'done'
