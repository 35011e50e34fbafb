#!lua flags=allow-oom
-- Adds ids to the filters of their entities, on a cluster, where these lie in other slots than the
-- values: what invalidate.lua does elsewhere. Repeated or late it changes nothing.
--
-- KEYS  per entity the two bitmaps
-- ARGV  per entity the seed (4 bytes) and the hashes (8 bytes each) of its ids
-- Answers OK.

if redis.call('EXISTS', unpack(KEYS)) == 0 then return 'OK' end

-- @use bloom
-- @use bloom-add

for i = 1, #ARGV do remember(KEYS[2 * i - 1], KEYS[2 * i], ARGV[i]) end
return 'OK'
