/** What is asked of all hops at once. */
import { expect, test } from 'vitest'
import type { Logger } from '../../src/model/log.ts'
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
  expect(hops.health).toEqual({
    l2: {
      breaker: 'open',
      held: false,
      nodes: { '10.0.0.1:6379': 'closed', '10.0.0.2:6379': 'open' },
    },
    source: { breaker: 'closed', held: false },
  })
  for (const hop of nodes) hop.close()
  expect(clock.timers).toBe(0)
})

test('each change of a breaker is one line, with what opened it; what gets worse is a warning', async () => {
  const clock = new VirtualClock()
  const lines: (readonly unknown[])[] = []
  const log =
    (level: string) =>
    ({ err, ...details }: { err?: Error }, message: string): void =>
      void lines.push([level, message, { ...details, ...(err && { err: err.message }) }])
  const logger: Logger = {
    debug: log('debug'),
    info: log('info'),
    warn: log('warn'),
    error: log('error'),
  }
  const options = {
    ...{ namespace: 'shop', postgres: 'postgres://127.0.0.1/shop', entities: {} },
    ...{ clock, logger },
  }
  const breakers = new Breakers()
  const node = '10.0.0.1:6379'
  const hop = new Hop({ name: 'l2', deadlineMs: 100, isAnswer: () => false, clock })
  breakers.add(hop, node)
  const told: object[] = []
  const hops = new RunningHops(settle(options, 0), { l2: { breakers, isRetryable: () => true } })
  hops.start({
    breakerChanged: (change) => void told.push(change),
    fleet: { answers: new Map(), holds: new Map() },
  })
  for (let call = 0; call < 5; call++) {
    await expect(
      hop.run(() => Promise.reject(new Error('at redis://:hunter2@r'))),
    ).rejects.toThrow()
  }
  await clock.advance(1_000)
  for (let call = 0; call < 3; call++) await hop.run(() => Promise.resolve())
  await clock.advance(2_000)
  breakers.tighten(node, clock.monotonicMs() + 1_000, 'limit', '12.0 % failed')
  const message = (state: string): string => `the breaker of Redis is ${state}`
  const at = (state: string, reason: string): object => ({ hop: 'l2', node, state, reason })
  const opened = { ...at('open', 'local'), err: 'at redis://***@r' }
  expect(lines).toEqual([
    ['warn', message('open'), opened],
    ['info', message('half-open'), at('half-open', 'local')],
    ['info', message('closed'), at('closed', 'local')],
    ['warn', message('half-open'), { ...at('half-open', 'fleet'), cause: '12.0 % failed' }],
  ])
  expect(told).toHaveLength(lines.length)
  expect(told[3]).toEqual(at('half-open', 'fleet'))
  hop.close()
})
