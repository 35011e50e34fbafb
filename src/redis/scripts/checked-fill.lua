-- The rules that a fill has to pass. Needs fence.lua, snapshot.lua and covers.lua.

-- Stores a value if its fence lets it: answers filled, nonce-changed, tombstone or not-covered.
-- `over`: incarnations, of 8 bytes each, whose tombstones are known to be over. Every tombstone is
-- seen by what lies there afterwards, so the caller removes the fence, and its nonce with it.
local function checkedFill(fence, valueKey, nonce, bytes, expireMs, over)
  if not fence or fence.nonce ~= nonce or fence.hasForgotten then return 'nonce-changed' end
  local snapshot = snapshotOf(bytes)
  for i = 1, #fence.tombstones do
    local tombstone = fence.tombstones[i]
    if tombstone.incarnation == snapshot.incarnation then
      if tombstone.isMerged then
        if tombstone.xid >= snapshot.xmin then return 'tombstone' end
      elseif not sees(snapshot, tombstone.xid) then
        return 'tombstone'
      end
    elseif not contains(over, tombstone.incarnation) then
      return 'tombstone'
    end
  end
  local present = snapshotAt(valueKey)
  if present and present.incarnation == snapshot.incarnation and not covers(snapshot, present) then
    return 'not-covered'
  end
  redis.call('SET', valueKey, bytes, 'PX', expireMs)
  return 'filled'
end
