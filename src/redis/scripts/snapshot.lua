-- The header of a value, laid out in src/model/envelope.ts, and what snapshots see: the rules of
-- src/model/snapshot.ts. Xids are doubles here, exact below 2^53.

local headerBytes = 42

-- Whether the check in the header fits: a damaged one must not claim to see a write.
local function isIntact(bytes, length, check)
  local sum = 0
  local head = { string.byte(bytes, 1, 36) }
  for i = 1, 36 do sum = sum + i * head[i] end
  for i = headerBytes + 1, length do sum = sum + i * string.byte(bytes, i) end
  return sum % 65521 == check
end

-- The snapshot of an envelope; nil when the bytes are none.
local function snapshotOf(bytes, whole)
  if not bytes or #bytes < headerBytes or string.byte(bytes, 1) ~= 0x4C then return nil end
  local flags, incarnation, xmin, span, count, _, softExpiry, check =
    struct.unpack('>Bc8I8I4I2I6I6I2', bytes, 2)
  local hasOwn = flags % 4 >= 2
  local length = headerBytes + 4 * (count + (hasOwn and 1 or 0))
  if #bytes < length then return whole and whole() or nil end
  if not isIntact(bytes, length, check) then return nil end
  local snapshot =
    { incarnation = incarnation, xmin = xmin, xmax = xmin + span, softExpiry = softExpiry, xip = {} }
  for i = 1, count do
    snapshot.xip[i] = xmin + struct.unpack('>I4', bytes, headerBytes + 4 * i - 3)
  end
  if hasOwn then snapshot.own = xmin + struct.unpack('>I4', bytes, length - 3) end
  return snapshot
end

-- The snapshot of the value at a key, without reading its payload; nil where something else lies.
local function snapshotAt(key)
  local head = redis.pcall('GETRANGE', key, 0, headerBytes + 31)
  if type(head) ~= 'string' then return nil end
  return snapshotOf(head, function()
    return snapshotOf(redis.call('GETRANGE', key, 0, headerBytes + 4 * 1001 - 1))
  end)
end

local function contains(list, item)
  for i = 1, #list do
    if list[i] == item then return true end
  end
  return false
end

local function sees(snapshot, xid)
  if xid < snapshot.xmin or xid == snapshot.own then return true end
  return xid < snapshot.xmax and not contains(snapshot.xip, xid)
end
