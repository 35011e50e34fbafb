#!lua
-- Takes a piece of what is to be merged, after those before it.
--
-- KEYS  1 where they are gathered
-- ARGV  1 how many bytes came before it   2 the piece   3 expiry (ms)
-- Answers done | gone (some of those before it: evicted, or expired)

if ARGV[1] == '0' then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 'done'
end
if redis.call('STRLEN', KEYS[1]) ~= tonumber(ARGV[1]) then return 'gone' end
redis.call('APPEND', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 'done'
