/** Renewals of the leases whose loads run: when, of which, until when. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Leases, leaseMsFor } from '../../../src/coordinator/leases.ts'
import type { Lease, Nonce, Renewal } from '../../../src/model/l2-port.ts'
import { type Deferred, deferred } from '../../../src/resilience/deadline.ts'
import { VirtualClock } from '../../support/clock.ts'

const shortMs = 80

let clock: VirtualClock
let closing: AbortController
let renewals: { readonly atMs: number; readonly ids: readonly string[]; readonly leaseMs: number }[]
let answer: (id: string) => Renewal | Promise<Renewal>
let running: Deferred<void>[]
let context: ConstructorParameters<typeof Leases>[0]
let leases: Leases

beforeEach(() => {
  clock = new VirtualClock()
  closing = new AbortController()
  renewals = []
  answer = () => 'held'
  running = []
  const beganAtMs = clock.monotonicMs()
  const l2 = {
    renew: (_entity: unknown, some: readonly Lease[], leaseMs: number) => {
      const ids = some.map(({ id }) => id)
      renewals.push({ atMs: clock.monotonicMs() - beganAtMs, ids, leaseMs })
      return Promise.all(ids.map((id) => answer(id)))
    },
  }
  context = {
    l2,
    entity: {},
    clock,
    closing: closing.signal,
    loadDeadlineMs: 500,
    loadQueueDeadlineMs: 400,
  } as unknown as typeof context
  leases = new Leases(context)
})

afterEach(async () => {
  for (const load of running) load.resolve()
  await clock.settle()
  expect(clock.timers).toBe(0)
})

const lease = (id: string): Lease => ({ id, nonce: `of ${id}` as Nonce, tombstones: [] })

/** A load of these ids that runs until it is ended. */
function load(...ids: string[]): Deferred<void> & { readonly ended: Promise<void> } {
  const run = deferred<void>()
  running.push(run)
  return { ...run, ended: leases.during(ids.map(lease), () => run.promise) }
}

const gaps = (): readonly number[] =>
  renewals.map(({ atMs }, index) => atMs - (renewals[index - 1]?.atMs ?? 0))

test('a lease is renewed again and again, long before it lapses', async () => {
  load('a')
  await clock.advance(400)
  expect(renewals.length).toBeGreaterThanOrEqual(10)
  expect(Math.max(...gaps())).toBeLessThanOrEqual(shortMs / 2)
  expect(Math.min(...gaps())).toBeGreaterThanOrEqual(shortMs / 3)
  expect(new Set(renewals.map(({ leaseMs }) => leaseMs))).toEqual(new Set([shortMs]))
})

test('a load that is quick renews nothing, and leaves no timer', async () => {
  const { resolve, ended } = load('a', 'b')
  await clock.advance(25)
  resolve()
  await ended
  expect([renewals, clock.timers]).toEqual([[], 0])
})

test('nothing is timed for a load without leases', async () => {
  load()
  await clock.advance(1)
  expect(clock.timers).toBe(0)
})

test.each(['ends', 'fails'] as const)('a load that %s is renewed no more', async (how) => {
  const { resolve, reject, ended } = load('a')
  await clock.advance(100)
  const before = renewals.length
  if (how === 'ends') resolve()
  else reject(new Error('no table'))
  await ended.catch(() => {})
  await clock.advance(500)
  expect(renewals.length).toBe(before)
})

test('what a load rejects with is what its caller gets', async () => {
  const { reject, ended } = load('a')
  reject(new Error('no table'))
  await expect(ended).rejects.toThrow('no table')
})

test('however many loads run, they are renewed in a call at a time, each in its own turn', async () => {
  const ids = Array.from({ length: 50 }, (_, index) => `id ${index}`)
  const loads = []
  for (const id of ids) {
    loads.push(load(id))
    await clock.advance(1)
  }
  await clock.advance(350)
  expect(renewals.length).toBeLessThanOrEqual(40)
  for (const id of ids) {
    const times = renewals.filter((one) => one.ids.includes(id)).map(({ atMs }) => atMs)
    expect(times.length).toBeGreaterThanOrEqual(8)
    expect(times.length).toBeLessThanOrEqual(15)
  }
  loads[7]?.resolve()
  await loads[7]?.ended
  const before = renewals.length
  await clock.advance(100)
  const after = renewals.slice(before).flatMap((one) => one.ids)
  expect([after.includes('id 7'), after.includes('id 8')]).toEqual([false, true])
})

test('a lease that is lost is let go, and the others of its load are kept', async () => {
  answer = (id) => (id === 'b' ? 'lost' : 'held')
  load('a', 'b', 'c')
  await clock.advance(200)
  expect(renewals.map(({ ids }) => ids.join(''))).toEqual([
    'abc',
    ...Array(renewals.length - 1).fill('ac'),
  ])
})

test('a load that has lost all its leases asks no more', async () => {
  answer = () => 'lost'
  load('a')
  await clock.advance(500)
  expect(renewals.length).toBe(1)
})

test('what cannot be renewed now is tried again', async () => {
  answer = () => (renewals.length < 3 ? 'unavailable' : 'held')
  load('a')
  await clock.advance(300)
  expect(renewals.length).toBeGreaterThanOrEqual(7)
})

test('a renewal that hangs holds up no other, and they do not pile up', async () => {
  const hanging = deferred<Renewal>()
  answer = () => hanging.promise
  load('a')
  await clock.advance(200)
  expect(renewals.length).toBeGreaterThanOrEqual(5)
  expect(renewals.length).toBeLessThanOrEqual(7)
  hanging.resolve('held')
})

test.each([
  [undefined, 2_700],
  [0, 900],
  [4, 4_500],
])(
  'a load that never ends is renewed for as long as its tries (retries: %s) and their waits may take, and no longer',
  async (loadRetries, longestMs) => {
    leases = new Leases({ ...context, ...(loadRetries === undefined ? {} : { loadRetries }) })
    load('a')
    await clock.advance(60_000)
    const last = renewals.at(-1)?.atMs ?? 0
    expect(last).toBeGreaterThanOrEqual(longestMs)
    expect(last).toBeLessThanOrEqual(longestMs + 500)
  },
)

test('closing ends the renewals of a load that goes on', async () => {
  load('a')
  await clock.advance(100)
  const before = renewals.length
  closing.abort()
  await clock.advance(500)
  expect([renewals.length, clock.timers]).toEqual([before, 0])
})

test('leases of many ids are longer, so that their renewals cost Redis no more', async () => {
  expect([1, 256].map(leaseMsFor)).toEqual([shortMs, shortMs])
  expect(leaseMsFor(2_560)).toBe(10 * shortMs)
  const ids = Array.from({ length: 2_560 }, (_, index) => String(index))
  load(...ids)
  await clock.advance(1_000)
  expect(renewals.map(({ leaseMs }) => leaseMs)).toEqual(Array(renewals.length).fill(10 * shortMs))
  expect(renewals.length).toBe(3)
})
