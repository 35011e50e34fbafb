#!lua flags=allow-oom,allow-cross-slot-keys
-- What an entity has of filters. Whoever asks keeps them: what a namespace leaves behind goes by itself.
--
-- KEYS  1, 2 the two bitmaps   3 the record of a build   4 the wish for one
-- ARGV  1 the seed (4 bytes)   2 their expiry (ms)   3 the barrier of this node, whose slot may be another
--       ('': none is known)
-- Answers the header ('': none) and the length of each bitmap; the generation of the build ('': none), 1
-- if it is held, and its progress; 1 if one is wished for; the bytes of the barrier or ''.

-- @use clock
-- @use bloom
-- @use identity
-- @use filter-build

local answers = {}
for slot = 1, 2 do
  local bitmap = bitmapAt(KEYS[slot], ARGV[1])
  answers[2 * slot - 1] = bitmap and bitmap.head or ''
  answers[2 * slot] = bitmap and bitmap.bytes or 0
  if bitmap then redis.call('PEXPIRE', KEYS[slot], ARGV[2]) end
end
local record = buildRecord()
answers[5] = record and record.generation or ''
answers[6] = record and isHeld(record, nowMs()) and 1 or 0
answers[7] = record and record.progress or ''
answers[8] = redis.call('EXISTS', KEYS[4])
local barrier = ARGV[3] ~= '' and redis.pcall('GET', ARGV[3])
answers[9] = type(barrier) == 'string' and barrier or ''
return answers
