#!lua flags=no-writes,allow-cross-slot-keys
-- What a filter says of some ids, and the barrier beside it.
--
-- KEYS  the two bitmaps
-- ARGV  1 the seed (4 bytes) and hashes (8 bytes each)   2 the generation ('': the newest that is ready)
--       3 the barrier of this node, whose slot may be another ('': none is asked for)
-- Answers nothing where there is no such filter, else its header, its length, n (it has no such id) or m
-- (maybe) for each id, and the bytes of the barrier or nil.

if redis.call('EXISTS', KEYS[1], KEYS[2]) == 0 then return {} end

-- @use bloom

local hashes, generation = ARGV[1], tonumber(ARGV[2])
local seed = string.sub(hashes, 1, 4)
local bitmap
if generation then
  for _, key in ipairs(KEYS) do
    local one = bitmapAt(key, seed)
    if one and one.generation == generation then bitmap = one end
  end
else
  bitmap = newestReady(KEYS[1], KEYS[2], seed)
end
if not bitmap then return {} end
local says = {}
for at = 5, #hashes, 8 do says[#says + 1] = has(bitmap, hashes, at) and 'm' or 'n' end
local barrier = ARGV[3] ~= '' and redis.pcall('GET', ARGV[3])
return { bitmap.head, bitmap.bytes, table.concat(says), type(barrier) == 'string' and barrier }
