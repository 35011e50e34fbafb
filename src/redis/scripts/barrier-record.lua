-- The record of the barrier in this node, laid out in src/model/barrier-record.ts: what valid bytes
-- say, and their making. Its snapshots stay bytes here.

-- The record in bytes; nil where they are none.
local function barrierRecordIn(bytes)
  if type(bytes) ~= 'string' or #bytes < 37 or string.sub(bytes, 1, 2) ~= 'B\1' then return nil end
  local content, check = string.sub(bytes, 1, -5), struct.unpack('>I4', bytes, #bytes - 3)
  if tonumber(string.sub(redis.sha1hex(content), 1, 8), 16) ~= check then return nil end
  local barrierBytes = struct.unpack('>I2', bytes, 32)
  return {
    isValid = string.sub(bytes, 3, 3) == 'v',
    identity = string.sub(bytes, 4, 23),
    barrier = string.sub(content, 34, 33 + barrierBytes),
    generation = string.sub(content, 34 + barrierBytes),
  }
end

-- As snapshot.lua has them.
local function snapshotInPart(part)
  local incarnation, xmin, span, count = struct.unpack('>c8I8I4I2', part)
  local snapshot = { incarnation = incarnation, xmin = xmin, xmax = xmin + span, xip = {} }
  for i = 1, count do snapshot.xip[i] = xmin + struct.unpack('>I4', part, 19 + 4 * i) end
  return snapshot
end
