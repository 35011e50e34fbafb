import { beforeEach, expect, test } from 'vitest'
import { defineEntity } from '../../../src/model/entity.ts'
import type { Dropped, FillAnswer, L2, Lookup } from '../../../src/model/l2-port.ts'
import type { Outbox } from '../../../src/model/outbox-port.ts'
import type { WriteId } from '../../../src/model/snapshot.ts'
import type { Source } from '../../../src/model/source-port.ts'
import { HopWatch } from '../../../src/telemetry/hops.ts'
import { snapshot } from '../../support/arbitrary.ts'
import { VirtualClock } from '../../support/clock.ts'

const entity = defineEntity('city', { load: async () => [], id: (row: { id: number }) => row.id })
const cause = new Error('no answer')
const miss: Lookup = { kind: 'miss', why: 'absent' }
const { signal } = new AbortController()

let clock: VirtualClock
let watch: HopWatch
let answered: string[]
beforeEach(() => {
  clock = new VirtualClock()
  answered = []
  watch = new HopWatch({
    clock,
    answered: (hop, operation, seconds) => answered.push(`${hop} ${operation} ${seconds}`),
  })
})

/** An answer that takes its time. */
async function after<T>(ms: number, answer: T): Promise<T> {
  clock.stop(ms)
  return answer
}
const refuse = (): Promise<never> => after(30, undefined).then(() => Promise.reject(cause))

test('a call to Redis is measured by batch, and its answer passed on', async () => {
  const dropped: Dropped = { kind: 'dropped', nonces: [], values: 0 }
  const l2 = watch.l2({
    lookup: () => after(2, [miss, miss]),
    fill: () => after(3, ['filled'] as FillAnswer[]),
    invalidate: () => after(4, dropped),
  } as unknown as L2)
  expect(await l2.lookup(entity, ['1', '2'])).toEqual([miss, miss])
  expect(await l2.fill(entity, [])).toEqual(['filled'])
  expect(await l2.invalidate({} as WriteId, [])).toBe(dropped)
  expect(answered).toEqual(['l2 lookup 0.002', 'l2 fill 0.003', 'l2 invalidate 0.004'])
  expect(watch.failures.l2.size).toBe(0)
})

test('a Redis that is out of reach, for some ids or all, is a failure and no latency', async () => {
  const none: Lookup = { kind: 'unavailable', cause }
  const l2 = watch.l2({
    lookup: async () => [miss, none],
    acquire: async () => [none],
    fill: async () => ['filled', 'unavailable'] as FillAnswer[],
    invalidate: async () => none,
  } as unknown as L2)
  expect(await l2.lookup(entity, ['1', '2'])).toEqual([miss, none])
  await l2.acquire(entity, ['1'], {} as never)
  await l2.fill(entity, [])
  await l2.fill(entity, [])
  await l2.invalidate({} as WriteId, [])
  expect(answered).toEqual([])
  const failures = { lookup: 1, acquire: 1, fill: 2, invalidate: 1 }
  expect(Object.fromEntries(watch.failures.l2)).toEqual(failures)
})

test('what is published is measured, and what Kafka did not take is a failure', async () => {
  const given: unknown[] = []
  const answers = [() => after(5, undefined), refuse]
  const bus = watch.bus({
    publish: (...args) => {
      given.push(args)
      return answers.shift()?.() as Promise<void>
    },
  })
  await bus.publish([], signal)
  await expect(bus.publish([], signal)).rejects.toBe(cause)
  expect(given).toEqual([
    [[], signal],
    [[], signal],
  ])
  expect(answered).toEqual(['bus publish 0.005'])
  expect(Object.fromEntries(watch.failures.bus)).toEqual({ publish: 1 })
})

test('a refused fill is an answer', async () => {
  const l2 = watch.l2({ fill: async () => ['tombstone', 'nonce-changed'] } as unknown as L2)
  await l2.fill(entity, [])
  expect([answered.length, watch.failures.l2.size]).toEqual([1, 0])
})

test('loads are measured as calls, and by entity whether they fail or not', async () => {
  const rows = { rows: [], snapshot: undefined }
  const loads = [() => after(20, rows), refuse]
  const source = watch.source({ load: () => loads.shift()?.() } as unknown as Source<unknown>)
  expect(await source.load(entity, [1], signal)).toBe(rows)
  await expect(source.load(entity, [1], signal)).rejects.toBe(cause)
  expect(answered).toEqual(['source load 0.02'])
  expect(Object.fromEntries(watch.failures.source)).toEqual({ load: 1 })
  expect(Object.fromEntries(watch.loadSeconds)).toEqual({ city: 0.05 })
})

test('a transaction is measured statement by statement', async () => {
  const ended: string[] = []
  const source = watch.source({
    isRetryable: (error: unknown) => error === cause,
    begin: () =>
      after(1, {
        handle: 'the handle',
        record: () => after(2, 'recorded'),
        commit: refuse,
        rollback: async () => void ended.push('rolled back'),
      }),
  } as unknown as Source<string>)
  expect([source.isRetryable(cause), source.isRetryable(1)]).toEqual([true, false])
  const transaction = await source.begin(signal)
  expect(transaction.handle).toBe('the handle')
  expect(await transaction.record([])).toBe('recorded')
  await expect(transaction.commit()).rejects.toBe(cause)
  await transaction.rollback()
  expect(ended).toEqual(['rolled back'])
  expect(answered).toEqual(['source begin 0.001', 'source record 0.002'])
  expect(Object.fromEntries(watch.failures.source)).toEqual({ commit: 1 })
})

test('the outbox is measured, and its rows are summed up, by destination', async () => {
  const poll = { snapshot: 'one' }
  const passed: unknown[] = []
  const outbox = watch.outbox({
    poll: refuse,
    probe: () => after(1, poll),
    listen: (wake: () => void) => void passed.push(wake),
    notify: () => after(1, undefined),
    mark: (...args: unknown[]) => after(1, void passed.push(args)),
    claim: (destination: string) => after(2, destination === 'l2' ? 3 : 4),
    prune: () => after(3, 7),
    lead: (...args: unknown[]) => after(1, passed.push(args) > 0),
    progress: () => after(1, 'progress'),
    page: (...args: unknown[]) => after(1, args),
    repeated: (...args: unknown[]) => after(1, void passed.push(args)),
  } as unknown as Outbox)
  await expect(outbox.poll(undefined, signal)).rejects.toBe(cause)
  expect(await outbox.probe(signal)).toBe(poll)
  const wake = (): void => {}
  outbox.listen(wake)
  await outbox.notify(signal)
  await outbox.mark(['1'], ['l2', 'log'], signal)
  for (let times = 0; times < 2; times++) {
    expect(await outbox.claim('l2', 0, async () => [], signal)).toBe(3)
    expect(await outbox.claim('log', 0, async () => [], signal)).toBe(4)
    expect(await outbox.prune(0, signal)).toBe(7)
  }
  expect(await outbox.lead('me', signal)).toBe(true)
  expect(await outbox.progress({}, signal)).toBe('progress')
  const [since, until] = [snapshot('1:1:'), snapshot('2:2:')]
  expect(await outbox.page(since, until, '7', signal)).toEqual([since, until, '7', signal])
  await outbox.repeated(until, signal)
  expect(passed).toEqual([wake, [['1'], ['l2', 'log'], signal], ['me', signal], [until, signal]])
  expect([Object.fromEntries(watch.relayedRows), watch.prunedRows]).toEqual([{ l2: 6, log: 8 }, 14])
  expect(answered.map((one) => one.split(' ')[1])).toEqual([
    ...['poll', 'notify', 'mark', 'claim', 'claim', 'prune', 'claim', 'claim', 'prune'],
    ...['lead', 'progress', 'page', 'mark'],
  ])
  expect(Object.fromEntries(watch.failures.source)).toEqual({ poll: 1 })
})
