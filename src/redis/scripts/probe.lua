-- Does once what the other scripts do, on a key that nobody uses: a user without the rights to any of
-- it is told at the start, and not by each read.
--
-- KEYS  1 any key of the namespace
-- ARGV  1 channel of the fast plane
-- Answers OK.

local key = KEYS[1]
redis.call('TIME')
redis.call('INFO', 'server', 'replication')
redis.call('DEL', key)
redis.call('EXISTS', key)
redis.call('SET', key, '', 'PX', 1000)
redis.call('SETRANGE', key, 0, 'F')
redis.call('PEXPIRE', key, 1000) -- by the claim of the namespace, not by a script
redis.call('GETRANGE', key, 0, 0)
redis.call('GET', key)
redis.call('STRLEN', key)
redis.call('APPEND', key, '')
redis.call('GETBIT', key, 0)
redis.call('SETBIT', key, 0, 1)
redis.call('BITOP', 'OR', key, key, key)
redis.call('BITCOUNT', key)
redis.call('UNLINK', key)
redis.call('HSET', key, 'F', '')
redis.call('HMGET', key, 'F')
redis.call('UNLINK', key)
redis.call('PUBLISH', ARGV[1], '')
return 'OK'
