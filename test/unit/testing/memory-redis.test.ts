import { expect, test } from 'vitest'
import { VirtualClock } from '../../support/clock.ts'
import { MemoryRedis } from '../../support/ports.ts'

test('what has expired stays away when the clock is set back, as it does in Redis', () => {
  const clock = new VirtualClock()
  const redis = new MemoryRedis(clock)
  redis.putBytes('city', 1, '42', Buffer.from('old'), 5_000)
  clock.stepWall(70_000)
  expect(redis.valueBytes('city', 1, '42')).toBeUndefined()
  clock.stepWall(-120_000)
  expect(redis.valueBytes('city', 1, '42')).toBeUndefined()
})
