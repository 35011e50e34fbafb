#!lua flags=no-writes
-- Some bytes of the bits of the filter that answers.
--
-- KEYS  the two bitmaps
-- ARGV  1 the seed (4 bytes)   2 its generation   3 the first byte   4 how many
-- Answers the bytes; nil where another answers, or none.

-- @use bloom

local bitmap = newestReady(KEYS[1], KEYS[2], ARGV[1])
if not bitmap or bitmap.generation ~= tonumber(ARGV[2]) then return nil end
local first = filterHeaderBytes + tonumber(ARGV[3])
return redis.call('GETRANGE', bitmap.key, first, first + tonumber(ARGV[4]) - 1)
