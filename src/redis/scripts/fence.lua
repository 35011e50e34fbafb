-- The fence of an id, for the scripts that look into it. A string, big-endian:
--
--    1  20  the nonce
--   21   1  F, or W where somebody waits for the fill
--   22  12  the lease's owner, zeros where nobody has it
--   34   6  until when (Redis' clock, ms)
--   40 23n  tombstones:
--           1  t, or m that stands for every xid up to this one
--           8  incarnation
--           8  xid
--           6  when it was told (Redis' clock, ms)
--
-- Xids are doubles here, exact below 2^53.

local fenceBytes = 39
local tombstoneBytes = 23

-- The fence at a key, with tombstones past the retention left out; nil when there is none.
local function readFence(key, now, retentionMs)
  local bytes = redis.pcall('GET', key)
  if not bytes then return nil end
  local kind = type(bytes) == 'string' and string.sub(bytes, 21, 21)
  if (kind ~= 'F' and kind ~= 'W') or (#bytes - fenceBytes) % tombstoneBytes ~= 0 then
    redis.call('UNLINK', key) -- not a fence: somebody else's value under our key, of any size
    return nil
  end
  local fence = {
    nonce = string.sub(bytes, 1, 20),
    kind = kind,
    lease = string.sub(bytes, 22, 39),
    tombstones = {},
    hasForgotten = false,
  }
  for offset = fenceBytes + 1, #bytes, tombstoneBytes do
    local kind, incarnation, xid, toldAt = struct.unpack('>c1c8I8I6', bytes, offset)
    if now - toldAt > retentionMs then
      fence.hasForgotten = true
    else
      fence.tombstones[#fence.tombstones + 1] = {
        bytes = string.sub(bytes, offset, offset + tombstoneBytes - 1),
        isMerged = kind == 'm',
        incarnation = incarnation,
        xid = xid,
      }
    end
  end
  return fence
end

-- The fence at a key, or a new one. Whoever removes a tombstone renews the nonce: a fill that was
-- kept out by it, or never saw it, stays out. The caller writes it.
local function openFence(key, now, retentionMs, nonce)
  local fence = readFence(key, now, retentionMs)
  if not fence then
    fence = { kind = 'F', lease = string.rep('\0', 18), tombstones = {} }
    fence.nonce = nonce
  elseif fence.hasForgotten then
    fence.nonce = nonce
    fence.hasForgotten = false
  end
  return fence
end

local function tombstonesOf(fence)
  local all = {}
  for i = 1, #fence.tombstones do all[i] = fence.tombstones[i].bytes end
  return table.concat(all)
end

local function writeFence(key, fence, retentionMs)
  local bytes = fence.nonce .. fence.kind .. fence.lease .. tombstonesOf(fence)
  redis.call('SET', key, bytes, 'PX', retentionMs)
end
