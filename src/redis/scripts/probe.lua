-- Does once what the other scripts do, on a key that nobody uses: a user without the rights to any of
-- it is told at the start, and not by each read.
--
-- KEYS  1 any key of the namespace
-- ARGV  1 channel of the fast plane
-- Answers OK.

local key = KEYS[1]
nowMs()
redis.call('DEL', key)
redis.call('HSET', key, 'n', '')
redis.call('HGETALL', key)
redis.call('HMGET', key, 'n')
redis.call('HDEL', key, 'l')
redis.call('PEXPIRE', key, 1000)
redis.call('SET', key, '', 'PX', 1000)
redis.call('GETRANGE', key, 0, 0)
redis.call('GET', key)
redis.call('UNLINK', key)
redis.call('PUBLISH', ARGV[1], '')
return 'OK'
