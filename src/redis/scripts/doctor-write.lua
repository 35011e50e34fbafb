#!lua
-- Says whether scripts may write now: its command writes, and finds nothing to change. Without the flag
-- `allow-oom` it is refused, as a fill is, when memory is full.
--
-- KEYS  1 a key of the namespace that nobody uses
-- Answers OK.

redis.call('UNLINK', KEYS[1])
return 'OK'
