import { beforeEach, expect, test } from 'vitest'
import { Fleet, type FleetOptions } from '../../../src/coordinator/fleet.ts'
import type { FleetAnswer } from '../../../src/model/fleet.ts'
import type { BreakerSet } from '../../../src/resilience/breakers.ts'
import { VirtualClock } from '../../support/clock.ts'

const intervalMs = 10_000
const none = { answered: 0, failed: 0, refused: 0 }

let clock: VirtualClock
let asked: number[]
let tightened: string[]
let logged: string[]
let answer: () => Promise<FleetAnswer>
let fleet: Fleet
let counters: FleetOptions['counters']

function breakers(name: string, nodes: readonly (string | undefined)[]): BreakerSet {
  return {
    state: 'closed',
    calls: () => nodes.map((node) => [node, none] as const),
    nodes: new Map(),
    onChange: () => {},
    tighten: (node, untilMs, how) => {
      tightened.push(`${name} ${node ?? 'all'} ${how} for ${untilMs - clock.monotonicMs()}`)
    },
  }
}

beforeEach(() => {
  clock = new VirtualClock()
  asked = []
  tightened = []
  logged = []
  counters = { answers: new Map(), holds: new Map() }
  answer = async () => known({ l2: 0 })
  const log = (details: object, message: string): void => {
    logged.push(`${message} ${JSON.stringify(details)}`)
  }
  fleet = new Fleet({
    signal: {
      intervalMs,
      holdForMs: 60_000,
      ask: () => {
        asked.push(clock.monotonicMs())
        return answer()
      },
    },
    hops: new Map([
      ['l2', { breakers: breakers('l2', ['a:1', 'b:2']), how: 'open' }],
      ['source', { breakers: breakers('source', [undefined]), how: 'limit' }],
    ]),
    counters,
    clock,
    log: { debug: log, info: log, warn: log, error: log },
    random: () => 0,
  })
})

function known(ratios: Readonly<Record<string, number>>): FleetAnswer {
  return {
    kind: 'known',
    atMs: clock.wallMs(),
    ratios: Object.entries(ratios).map(([name, errorRatio]) => {
      const [hop = '', node] = name.split(' ')
      return { hop, node, errorRatio }
    }),
  }
}

test('it asks each interval, and one question at a time', async () => {
  fleet.start()
  await clock.advance(3 * intervalMs)
  expect(asked.length).toBe(3)
  let end = (): void => {}
  answer = () => new Promise((resolve) => (end = () => resolve(known({}))))
  await clock.advance(5 * intervalMs)
  expect(asked.length).toBe(4)
  end()
  await clock.advance(intervalMs)
  expect(asked.length).toBe(5)
  end()
  await fleet.close()
  expect(clock.timers).toBe(0)
})

test('what fails is tightened as its hop wants, and on a cluster that node alone', async () => {
  fleet.start()
  answer = async () => known({ source: 0.2, 'l2 b:2': 0.5, 'l2 a:1': 0.01, bus: 1 })
  await clock.advance(intervalMs)
  expect(tightened).toEqual(['l2 b:2 open for 60000', 'source all limit for 60000'])
  expect(['l2', 'source'].map((hop) => fleet.isHeld(hop as 'l2'))).toEqual([true, true])
  expect(Object.fromEntries(counters.holds)).toEqual({ l2: 1, source: 1 })
  await clock.advance(60_000)
  expect(fleet.isHeld('l2')).toBe(false)
  await fleet.close()
})

test('who asks in vain, or whom asking breaks, is counted, said once, and goes on', async () => {
  fleet.start()
  await clock.advance(intervalMs)
  answer = async () => ({ kind: 'unknown', reason: 'deadline', detail: 'no answer in 2000 ms' })
  await clock.advance(3 * intervalMs)
  answer = () => Promise.reject(new Error('never'))
  await clock.advance(intervalMs)
  answer = () => {
    throw new Error('at once')
  }
  await clock.advance(intervalMs)
  answer = async () => ({ kind: 'unknown', reason: 'empty', detail: 'no series' })
  await clock.advance(2 * intervalMs)
  await fleet.close()
  expect(Object.fromEntries(counters.answers)).toEqual({
    known: 1,
    deadline: 3,
    unreachable: 2,
    empty: 2,
  })
  expect(tightened).toEqual([])
  expect(logged.map((line) => line.replace(/ \{.*/, ''))).toEqual([
    ...Array(2).fill('Prometheus says nothing of use; breakers go by what this process sees'),
    'Prometheus is heard again',
  ])
})

test('closed in the middle of a question it tightens nothing any more', async () => {
  let end = (_: FleetAnswer): void => {}
  answer = () => new Promise((resolve) => (end = resolve))
  fleet.start()
  await clock.advance(intervalMs)
  const closed = fleet.close()
  end(known({ source: 1 }))
  await closed
  expect([tightened, [...counters.answers]]).toEqual([[], []])
})
