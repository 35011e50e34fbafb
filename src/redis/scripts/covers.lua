-- Needs snapshot.lua.

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
