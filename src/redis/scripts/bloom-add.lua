-- Needs bloom.lua.

-- Adds the ids whose hashes come one after the other from `offset` on. What is set already is not
-- written: most ids that are told have been there before.
local function addAll(bitmap, hashes, offset)
  local key, bits = bitmap.key, bitmap.bits
  local flipped = 0
  for at = offset, #hashes, 8 do
    local first, second = struct.unpack('>I4I4', hashes, at)
    local place, step = first % bits, second % bits
    for nth = 1, bitmap.places do
      local low = place % 8
      local bit = 8 * filterHeaderBytes + place - low + 7 - low
      if redis.call('GETBIT', key, bit) == 0 then
        redis.call('SETBIT', key, bit, 1)
        flipped = flipped + 1
      end
      place = place + step
      if place >= bits then place = place - bits end
      step = step + nth
      while step >= bits do step = step - bits end
    end
  end
  if flipped > 0 and bitmap.isReady then
    local setBits = struct.unpack('>I6', bitmap.head, 61)
    redis.call('SETRANGE', key, 60, struct.pack('>I6', setBits + flipped))
  end
end

-- `hashes`: the seed, then the ids'.
local function remember(one, other, hashes)
  local seed = string.sub(hashes, 1, 4)
  for _, key in ipairs({ one, other }) do
    local bitmap = bitmapAt(key, seed)
    if bitmap then addAll(bitmap, hashes, 5) end
  end
end
