#!lua flags=no-writes,allow-stale
-- Which of the commands that a cache needs the user may not use. None of them is run.
--
-- KEYS  1 any key of the namespace
-- ARGV  1 channel of the fast plane
-- Answers the names of those that are denied.

local key, channel = KEYS[1], ARGV[1]
local needed = {
  {'INFO', 'server'}, {'EVAL', 'return 1', '1', key}, {'EVALSHA', 'sha', '1', key}, {'TIME'},
  {'PUBLISH', channel, ''}, {'SUBSCRIBE', channel},
  {'EXISTS', key}, {'GET', key}, {'GETRANGE', key, '0', '0'}, {'MGET', key},
  {'SET', key, ''}, {'SETRANGE', key, '0', ''}, {'DEL', key}, {'UNLINK', key}, {'PEXPIRE', key, '1'},
  {'STRLEN', key}, {'APPEND', key, ''}, {'GETBIT', key, '0'}, {'SETBIT', key, '0', '0'},
  {'BITOP', 'OR', key, key}, {'BITCOUNT', key}, {'HSET', key, 'F', ''}, {'HMGET', key, 'F'},
}
local denied = {}
for _, command in ipairs(needed) do
  if not redis.acl_check_cmd(unpack(command)) then
    denied[#denied + 1] = command[1]
  end
end
return denied
