-- What every act on a key shares: the fence and the header of a value. Put before each act.
--
-- A fence is a hash: n the nonce, l the lease's owner, u until when it has the lease (Redis' clock,
-- ms), w that somebody waits for the fill, and per tombstone a field
--   t<8 bytes incarnation><xid> = when it was told (Redis' clock, ms)
--   m<8 bytes incarnation><xid> = the same, for every xid up to this one
-- Xids are doubles here, exact below 2^53, and are kept and sent as text.
-- A value's header is laid out in src/model/envelope.ts.

local headerBytes = 42
local mostTombstones = 32

local function nowMs()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function text(number)
  return string.format('%.0f', number)
end

-- Whether the check in the header fits: a damaged one must not claim to see a write.
local function isIntact(bytes, length)
  local sum = 0
  local head = { string.byte(bytes, 1, 36) }
  for i = 1, 36 do sum = sum + i * head[i] end
  for i = headerBytes + 1, length do sum = sum + i * string.byte(bytes, i) end
  return sum % 65521 == struct.unpack('>I2', bytes, 37)
end

-- The snapshot of an envelope; nil when the bytes are none.
local function snapshotOf(bytes, whole)
  if not bytes or #bytes < headerBytes or string.byte(bytes, 1) ~= 0x4C then return nil end
  local flags = string.byte(bytes, 2)
  local count = struct.unpack('>I2', bytes, 23)
  local own = flags % 4 >= 2
  local length = headerBytes + 4 * (count + (own and 1 or 0))
  if #bytes < length then return whole and whole() or nil end
  if not isIntact(bytes, length) then return nil end
  local xmin = struct.unpack('>I8', bytes, 11)
  local snapshot = {
    incarnation = string.sub(bytes, 3, 10),
    xmin = xmin,
    xmax = xmin + struct.unpack('>I4', bytes, 19),
    softExpiry = struct.unpack('>I6', bytes, 31),
    xip = {},
  }
  for i = 0, count - 1 do
    snapshot.xip[i + 1] = xmin + struct.unpack('>I4', bytes, headerBytes + 1 + 4 * i)
  end
  if own then snapshot.own = xmin + struct.unpack('>I4', bytes, headerBytes + 1 + 4 * count) end
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

local function contains(list, number)
  for i = 1, #list do
    if list[i] == number then return true end
  end
  return false
end

local function sees(snapshot, xid)
  if xid < snapshot.xmin or xid == snapshot.own then return true end
  return xid < snapshot.xmax and not contains(snapshot.xip, xid)
end

-- Does `snapshot` see every write that `floor` sees? Of one incarnation.
local function covers(snapshot, floor)
  if floor.own and not sees(snapshot, floor.own) then return false end
  for i = 1, #snapshot.xip do
    local xid = snapshot.xip[i]
    if xid ~= snapshot.own and sees(floor, xid) then return false end
  end
  if floor.xmax - snapshot.xmax > #floor.xip + 1 then return false end
  for xid = snapshot.xmax, floor.xmax - 1 do
    if xid ~= snapshot.own and sees(floor, xid) then return false end
  end
  return true
end

-- The fence at a key, with tombstones past the retention left out; nil when there is none.
local function readFence(key, now, retentionMs)
  local fields = redis.pcall('HGETALL', key)
  if fields.err then
    redis.call('DEL', key) -- not a fence: somebody else's value under our key
    return nil
  end
  if #fields == 0 then return nil end
  local fence = { tombstones = {}, expired = {} }
  local isOurs = true
  for i = 1, #fields, 2 do
    local field, value = fields[i], fields[i + 1]
    local kind = string.sub(field, 1, 1)
    if kind == 't' or kind == 'm' then
      local toldAt, xid = tonumber(value), tonumber(string.sub(field, 10))
      if not toldAt or not xid then
        isOurs = false
      elseif now - toldAt > retentionMs then
        fence.expired[#fence.expired + 1] = field
      else
        fence.tombstones[#fence.tombstones + 1] = {
          field = field,
          merged = kind == 'm',
          incarnation = string.sub(field, 2, 9),
          xid = xid,
        }
      end
    elseif kind == 'n' then fence.nonce = value
    elseif kind == 'l' then fence.owner = value
    elseif kind == 'u' then fence.untilMs = tonumber(value)
    elseif kind == 'w' then fence.isAwaited = true
    else isOurs = false
    end
  end
  if not isOurs or not fence.nonce then
    redis.call('DEL', key)
    return nil
  end
  return fence
end

-- The fence at a key, made when there is none. Whoever removes a tombstone renews the nonce: a fill
-- that was kept out by it, or never saw it, stays out.
local function openFence(key, now, retentionMs, nonce)
  local fence = readFence(key, now, retentionMs)
  if not fence then
    fence = { nonce = nonce, tombstones = {}, expired = {} }
    redis.call('HSET', key, 'n', nonce)
  elseif #fence.expired > 0 then
    redis.call('HDEL', key, unpack(fence.expired))
    redis.call('HSET', key, 'n', nonce)
    fence.nonce = nonce
  end
  redis.call('PEXPIRE', key, text(retentionMs))
  return fence
end

-- Stores a value if the fence lets it: answers filled, nonce-changed, tombstone or not-covered.
-- `over`: incarnations, of 8 bytes each, whose tombstones are known to be over.
local function fillOne(fenceKey, valueKey, fence, nonce, bytes, expireMs, over)
  if not fence or fence.nonce ~= nonce then return 'nonce-changed' end
  if #fence.expired > 0 then return 'nonce-changed' end
  local present = snapshotAt(valueKey)
  -- Most fills have nothing to pass: no tombstone, nothing there. Then their snapshot isn't read.
  local snapshot = (present or #fence.tombstones > 0) and snapshotOf(bytes)
  for _, tombstone in ipairs(fence.tombstones) do
    if tombstone.incarnation == snapshot.incarnation then
      if tombstone.merged then
        if tombstone.xid >= snapshot.xmin then return 'tombstone' end
      elseif not sees(snapshot, tombstone.xid) then
        return 'tombstone'
      end
    elseif not contains(over, tombstone.incarnation) then
      return 'tombstone'
    end
  end
  if present and present.incarnation == snapshot.incarnation and not covers(snapshot, present) then
    return 'not-covered'
  end
  redis.call('SET', valueKey, bytes, 'PX', text(expireMs))
  -- Every tombstone is seen by what lies there now, so the fence goes, and its nonce with it.
  redis.call('DEL', fenceKey)
  return 'filled'
end
