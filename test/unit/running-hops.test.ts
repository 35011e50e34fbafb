/** What is asked of all hops at once. */
import { expect, test } from 'vitest'
import { settle } from '../../src/options.ts'
import { Breakers } from '../../src/resilience/breakers.ts'
import { Hop } from '../../src/resilience/hop.ts'
import { RunningHops } from '../../src/running-hops.ts'
import { VirtualClock } from '../support/clock.ts'

test('the state of a place is the worst of its breakers, and one without breakers has none', () => {
  const clock = new VirtualClock()
  const breakers = new Breakers()
  const nodes = ['10.0.0.1:6379', '10.0.0.2:6379'].map((node) => {
    const hop = new Hop({ name: 'l2', deadlineMs: 100, isAnswer: () => false, clock })
    breakers.add(hop, node)
    return hop
  })
  const options = { namespace: 'shop', postgres: 'postgres://127.0.0.1/shop', entities: {}, clock }
  const hops = new RunningHops(settle(options, 0), { l2: { breakers, isRetryable: () => true } })
  expect([hops.stateOf('l2'), hops.stateOf('source')]).toEqual(['closed', undefined])
  nodes[1]?.tighten(clock.monotonicMs() + 1_000, 'open')
  expect(hops.stateOf('l2')).toBe('open')
  for (const hop of nodes) hop.close()
  expect(clock.timers).toBe(0)
})
