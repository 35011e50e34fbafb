-- What barrier.lua and restore.lua share. Needs barrier-record.lua and identity.lua, and of the script
-- KEYS  1 the barrier of this node
-- ARGV  1 the barrier to be written   2 its expiry (ms)   3 owner

local function incarnationOf(part) return string.sub(part, 1, 8) end

-- Does `left` see more than `right`? Both are snapshots of one primary, of one incarnation.
local function isNewer(left, right)
  local a, b = snapshotInPart(left), snapshotInPart(right)
  if a.xmax ~= b.xmax then return a.xmax > b.xmax end
  if a.xmin ~= b.xmin then return a.xmin > b.xmin end
  return #a.xip < #b.xip
end

-- The one of two that sees more; of two incarnations, or where there is only one of them, the second.
local function newest(known, given)
  if known == '' or given == '' or incarnationOf(known) ~= incarnationOf(given) then return given end
  return isNewer(known, given) and known or given
end

local function put(state, identity, barrier, generation)
  local content = 'B\1' .. state .. identity .. ARGV[3] .. struct.pack('>I2', #barrier) .. barrier .. generation
  local check = struct.pack('>I4', tonumber(string.sub(redis.sha1hex(content), 1, 8), 16))
  redis.call('SET', KEYS[1], content .. check, 'PX', ARGV[2])
end

-- From here on the node proves nothing. What was found stays: who restores it may end before it has.
local function changed(identity, record)
  local found, generation = record and record.barrier or '', record and record.generation or ''
  put('r', identity, found, generation)
  return { 'changed', identity, generation, found }
end

local function written(identity, barrier, generation)
  put('v', identity, barrier, generation)
  return { 'written', identity, generation }
end
