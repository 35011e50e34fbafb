#!lua flags=allow-oom
-- Drops the values that don't see a write, and leaves a tombstone: no value that doesn't see it can
-- be filled from now on (DESIGN §5.2, §5.4). Repeated or late it changes nothing.
--
-- KEYS  per id: fence, then its values in all live schema versions
-- ARGV  1 incarnation (8 bytes)   2 xid   3 tombstone retention (ms)   4 channel   5 message
--       6.. per id: the number of values, a nonce should the fence need one, and the write-through:
--       which of the values (0: none), its nonce, envelope, expiry (ms)
-- Answers per id: {nonce of the fence ('' where none is needed), '' or the answer of the fill}

local incarnation, xidText, retentionMs = ARGV[1], ARGV[2], tonumber(ARGV[3])
local xid = tonumber(xidText)
local now = nowMs()
local answers = {}
local nextKey, nextArg = 1, 6

local function addTombstone(key, fence)
  local field = 't' .. incarnation .. xidText
  if #fence.tombstones >= mostTombstones then
    local largest = xid
    for _, tombstone in ipairs(fence.tombstones) do
      if tombstone.incarnation == incarnation then
        redis.call('HDEL', key, tombstone.field)
        if tombstone.xid > largest then largest = tombstone.xid end
      end
    end
    field = 'm' .. incarnation .. text(largest)
  end
  redis.call('HSET', key, field, text(now))
end

while nextKey <= #KEYS do
  local count, nonce = tonumber(ARGV[nextArg]), ARGV[nextArg + 1]
  local through, throughNonce, bytes, expireMs = tonumber(ARGV[nextArg + 2]), ARGV[nextArg + 3], ARGV[nextArg + 4], tonumber(ARGV[nextArg + 5])
  local fenceKey = KEYS[nextKey]
  local isSeen = false
  for v = 1, count do
    local valueKey = KEYS[nextKey + v]
    local present = snapshotAt(valueKey)
    if present and present.incarnation == incarnation and sees(present, xid) then
      isSeen = true
    else
      redis.call('UNLINK', valueKey)
    end
  end
  -- A value that sees the write was filled after it, so every nonce of before is gone: no tombstone needed.
  if isSeen then
    answers[#answers + 1] = { '', '' }
  else
    local fence = openFence(fenceKey, now, retentionMs, nonce)
    addTombstone(fenceKey, fence)
    local filled = ''
    if through > 0 then
      fence = readFence(fenceKey, now, retentionMs)
      filled = fillOne(fenceKey, KEYS[nextKey + through], fence, throughNonce, bytes, expireMs, {})
      if fence.isAwaited then redis.call('PUBLISH', ARGV[4], KEYS[nextKey + through]) end
    end
    answers[#answers + 1] = { fence.nonce, filled }
  end
  nextKey = nextKey + 1 + count
  nextArg = nextArg + 6
end

redis.call('PUBLISH', ARGV[4], ARGV[5])
return answers
