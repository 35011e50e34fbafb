#!lua flags=allow-oom
-- Drops the values that don't see a write, and leaves a tombstone: no value that doesn't see it can
-- be filled from now on (DESIGN §5.2, §5.4). Repeated or late it changes nothing.
--
-- KEYS  per id: fence, then its values in all live schema versions; then, on a single server, per entity
--       the two bitmaps of its filters
-- ARGV  1 incarnation (8 bytes)   2 xid   3 tombstone retention (ms)   4 channel   5 message ('': nobody is told)
--       6 how many entities have their bitmaps here
--       7.. per id: the number of values, a nonce should the fence need one, and the write-through:
--       which of the values (0: none), its nonce, envelope, expiry (ms); then per entity the seed
--       (4 bytes) and the hashes (8 bytes each) of its ids
-- Answers per id: {nonce of the fence ('' where none is needed), '' or the answer of the fill, the
-- number of values that lay there and are gone}

-- @use clock
-- @use fence
-- @use snapshot
-- @use covers
-- @use checked-fill

local mostTombstones = 32

local incarnation, xid, retentionMs, channel = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local now = nowMs()
local answers = {}
local nextKey, nextArg = 1, 7
local entities = tonumber(ARGV[6])
local bitmaps = #KEYS - 2 * entities

-- The write's own replaces an earlier one of the same; too many of one incarnation become one.
local function addTombstone(fence)
  local isMerged = #fence.tombstones >= mostTombstones
  local largest = xid
  local kept = {}
  for _, tombstone in ipairs(fence.tombstones) do
    local isOwn = tombstone.incarnation == incarnation
    if isOwn and isMerged then
      if tombstone.xid > largest then largest = tombstone.xid end
    elseif not isOwn or tombstone.isMerged or tombstone.xid ~= xid then
      kept[#kept + 1] = tombstone
    end
  end
  kept[#kept + 1] = {
    bytes = struct.pack('>c1c8I8I6', isMerged and 'm' or 't', incarnation, largest, now),
    isMerged = isMerged,
    incarnation = incarnation,
    xid = largest,
  }
  fence.tombstones = kept
end

while nextKey <= bitmaps do
  local count, nonce = tonumber(ARGV[nextArg]), ARGV[nextArg + 1]
  local through, throughNonce, bytes, expireMs = tonumber(ARGV[nextArg + 2]), ARGV[nextArg + 3], ARGV[nextArg + 4], ARGV[nextArg + 5]
  local fenceKey = KEYS[nextKey]
  local isSeen, dropped = false, 0
  for v = 1, count do
    local valueKey = KEYS[nextKey + v]
    local present = snapshotAt(valueKey)
    if present and present.incarnation == incarnation and sees(present, xid) then
      isSeen = true
    else
      dropped = dropped + redis.call('UNLINK', valueKey)
    end
  end
  -- A value that sees the write was filled after it, so every nonce of before is gone: no tombstone needed.
  if isSeen then
    answers[#answers + 1] = { '', '', dropped }
  else
    local fence = openFence(fenceKey, now, tonumber(retentionMs), nonce)
    addTombstone(fence)
    local filled = ''
    if through > 0 then
      local valueKey = KEYS[nextKey + through]
      filled = checkedFill(fence, valueKey, throughNonce, bytes, expireMs, {})
      if fence.kind == 'W' then redis.call('PUBLISH', channel, valueKey) end
    end
    if filled == 'filled' then
      redis.call('DEL', fenceKey)
    else
      writeFence(fenceKey, fence, retentionMs)
    end
    answers[#answers + 1] = { fence.nonce, filled, dropped }
  end
  nextKey = nextKey + 1 + count
  nextArg = nextArg + 6
end

if ARGV[5] ~= '' then redis.call('PUBLISH', channel, ARGV[5]) end

local filters = {}
for i = 1, entities do
  if redis.call('EXISTS', KEYS[bitmaps + 2 * i - 1], KEYS[bitmaps + 2 * i]) > 0 then filters[#filters + 1] = i end
end
if #filters == 0 then return answers end

-- @use bloom
-- @use bloom-add

for _, i in ipairs(filters) do
  remember(KEYS[bitmaps + 2 * i - 1], KEYS[bitmaps + 2 * i], ARGV[#ARGV - entities + i])
end
return answers
