-- Bitmaps of Bloom filters, laid out in src/model/bloom.ts, and the places of an id: the rules that
-- are there. A seed is what a header has of it, hashes are 8 bytes each.

local filterHeaderBytes = 72

-- What lies at a key; nil where it is no bitmap of this seed. Its check is looked at by who answers.
local function bitmapAt(key, seed)
  local head = redis.pcall('GETRANGE', key, 0, filterHeaderBytes - 1)
  if type(head) ~= 'string' or #head < filterHeaderBytes then return nil end
  local format, version, state, places, bits, generation, mark = struct.unpack('>BBc1BI6I4c4', head)
  if format ~= 0x46 or version ~= 1 or mark ~= seed then return nil end
  if places == 0 or bits == 0 or bits % 8 ~= 0 then return nil end
  local bytes = redis.call('STRLEN', key)
  if bytes ~= filterHeaderBytes + bits / 8 then return nil end
  return {
    key = key,
    head = head,
    bytes = bytes,
    isReady = state == 'r',
    places = places,
    bits = bits,
    generation = generation,
  }
end

-- The one of two keys that answers: the newer that is ready.
local function newestReady(one, other, seed)
  local a, b = bitmapAt(one, seed), bitmapAt(other, seed)
  if not (b and b.isReady) then return a and a.isReady and a or nil end
  if not (a and a.isReady) then return b end
  return a.generation > b.generation and a or b
end

-- Whether the bitmap has the id of the hash at `offset`. Redis counts a byte's bits from the highest.
local function has(bitmap, hashes, offset)
  local first, second = struct.unpack('>I4I4', hashes, offset)
  local key, bits = bitmap.key, bitmap.bits
  local place, step = first % bits, second % bits
  for nth = 1, bitmap.places do
    local low = place % 8
    if redis.call('GETBIT', key, 8 * filterHeaderBytes + place - low + 7 - low) == 0 then return false end
    place = place + step
    if place >= bits then place = place - bits end
    step = step + nth
    while step >= bits do step = step - bits end
  end
  return true
end
