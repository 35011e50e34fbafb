#!lua flags=no-writes
-- Values, the barrier beside them, and what the newest filter says of some of those that don't lie
-- here, all at one instant (DESIGN §8).
--
-- KEYS  values; then the barrier, and the two bitmaps
-- ARGV  1 the seed (4 bytes), and of each value that is asked for its place (4, from 1) and hash (8)
-- Answers the values, the barrier; then, where a bitmap is ready, its header, its length, and of each
-- that was asked for n (it has no such id) or m (maybe).

local answers = redis.call('MGET', unpack(KEYS, 1, #KEYS - 2))
local one, other = KEYS[#KEYS - 1], KEYS[#KEYS]
if redis.call('EXISTS', one, other) == 0 then return answers end

-- @use bloom

local asked = ARGV[1]
local bitmap = newestReady(one, other, string.sub(asked, 1, 4))
if not bitmap then return answers end
local says = {}
for at = 5, #asked, 12 do
  local isThere = answers[struct.unpack('>I4', asked, at)] or has(bitmap, asked, at + 4)
  says[#says + 1] = isThere and 'm' or 'n'
end
answers[#KEYS - 1] = bitmap.head
answers[#KEYS] = bitmap.bytes
answers[#KEYS + 1] = table.concat(says)
return answers
