-- This life of this server as a primary: a restart has another run id, a promotion another replication id.
local function identityOfServer()
  local info = redis.call('INFO', 'server', 'replication')
  local run = string.match(info, 'run_id:(%w+)')
  local replication = string.match(info, 'master_replid:(%w+)')
  if not run or not replication then error('this server does not tell its run id and replication id') end
  return string.sub(redis.sha1hex(run .. ' ' .. replication), 1, 20)
end
