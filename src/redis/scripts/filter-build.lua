-- The build of a filter, for the scripts that take part in it. Needs clock.lua, bloom.lua and
-- identity.lua, and of the script
-- KEYS  1, 2 the two bitmaps   3 the record of the build
--
-- The record is a hash: owner of the lease, until when (Redis' clock, ms), generation and slot (0 or 1)
-- of what is built; start of the scan (incarnation and xid, as a header has them), and progress.

-- No lease is that long: Redis' clock was set back since, and who had it may be gone.
local longestLeaseMs = 3600000

-- How far the scan is, in words of filter-record.ts.
local function isProgress(text)
  local isJson, progress = pcall(cjson.decode, text)
  if not isJson or type(progress) ~= 'table' then return false end
  return type(progress.scanned) == 'number' and type(progress.expected) == 'number'
end

-- The record; nil where there is none, or what lies there isn't one.
local function buildRecord()
  local found =
    redis.pcall('HMGET', KEYS[3], 'owner', 'until', 'generation', 'slot', 'start', 'progress')
  if found.err or not found[1] or not found[6] then return nil end
  local untilMs, generation, slot = tonumber(found[2]), tonumber(found[3]), found[4]
  if not untilMs or not generation or (slot ~= '0' and slot ~= '1') then return nil end
  if found[5] and #found[5] ~= 16 or not isProgress(found[6]) then return nil end
  return {
    owner = found[1],
    untilMs = untilMs,
    generation = generation,
    key = KEYS[tonumber(slot) + 1],
    start = found[5],
    progress = found[6],
  }
end

local function isHeld(record, now)
  return record.untilMs > now and record.untilMs - now <= longestLeaseMs
end

-- A header with the check that goes with it.
local function sealed(head)
  local sum = 0
  local bytes = { string.byte(head, 1, 60) }
  for i = 1, 60 do sum = sum + i * bytes[i] end
  return string.sub(head, 1, 66) .. struct.pack('>I2', sum % 65521) .. string.sub(head, 69, 72)
end

-- The bitmap that is built under a record; nil where it is gone, or this server may have forgotten
-- some of it.
local function beingBuilt(record, seed)
  local bitmap = bitmapAt(record.key, seed)
  if not bitmap or bitmap.isReady or bitmap.generation ~= record.generation then return nil end
  if sealed(bitmap.head) ~= bitmap.head then return nil end
  return string.sub(bitmap.head, 35, 54) == identityOfServer() and bitmap or nil
end

-- The same for whoever has the lease.
local function ownBuild(seed, owner, generation)
  local record = buildRecord()
  if not record or record.owner ~= owner or record.generation ~= tonumber(generation) then return nil end
  return beingBuilt(record, seed)
end
