import { expect, test } from 'vitest'
import { type CommittedWrite, Finisher } from '../../../src/coordinator/finisher.ts'
import type { Log, LoggedWrite } from '../../../src/model/bus-ports.ts'
import { silent } from '../../../src/model/log.ts'
import type { Destination, Outbox } from '../../../src/model/outbox-port.ts'
import type { Xid } from '../../../src/model/snapshot.ts'
import { deferred } from '../../../src/resilience/deadline.ts'
import { incarnationA } from '../../support/arbitrary.ts'
import { VirtualClock, watch } from '../../support/clock.ts'

const deadlineMs = 500
const later = 20

interface Options {
  readonly mark?: () => Promise<void>
  readonly publish?: () => Promise<void>
  readonly wakesOthers?: boolean
}

function setUp({ mark, publish, wakesOthers = false }: Options = {}) {
  const clock = new VirtualClock()
  const marked: (readonly string[])[] = []
  const acts: string[] = []
  const outbox = {
    mark: (rowIds: readonly string[], told: readonly Destination[], signal: AbortSignal) => {
      marked.push(rowIds)
      acts.push(`mark ${rowIds.join()} for ${told.join()}`)
      return mark?.() ?? Promise.resolve(signal.throwIfAborted())
    },
    notify: async () => void acts.push('wake the others'),
  } as unknown as Outbox
  const source = {
    publish: async (writes: readonly LoggedWrite[]) => {
      acts.push(
        `publish ${writes.map(({ write, ids }) => `${write.xid}: ${ids.join()}`).join('; ')}`,
      )
      await publish?.()
    },
  } as unknown as Log
  const finisher = new Finisher({
    outbox,
    source: publish && source,
    wakesOthers,
    clock,
    log: silent,
    deadlineMs,
  })
  return { clock, marked, acts, finisher }
}

const write = (...rowIds: readonly string[]): CommittedWrite => ({
  rowIds,
  writes: [
    {
      write: { incarnation: incarnationA, xid: Number(rowIds[0]) as Xid },
      entity: 'city',
      ids: rowIds,
    },
  ],
  isApplied: true,
})
const unapplied = (...rowIds: readonly string[]): CommittedWrite => ({
  ...write(...rowIds),
  isApplied: false,
})
const never = (): Promise<never> => new Promise(() => {})

test('marks of several writes go out together, a moment later', async () => {
  const { clock, acts, finisher } = setUp()
  finisher.add(write('1', '2'))
  await clock.advance(10)
  finisher.add(write('3'))
  expect(acts).toEqual([])
  await clock.advance(later)
  expect(acts).toEqual(['mark 1,2,3 for l2'])
  expect(clock.timers).toBe(0)
})

test('a write that L2 was not told of is left to the relay', async () => {
  const { clock, acts, finisher } = setUp()
  finisher.add(unapplied('1'))
  finisher.add(write('2'))
  await clock.advance(later)
  expect(acts).toEqual(['mark 2 for l2'])
})

test('writes are published before they are marked, and those of L2 for L2 too', async () => {
  const published = deferred<void>()
  const { clock, acts, finisher } = setUp({ publish: () => published.promise })
  finisher.add(write('1'))
  finisher.add(unapplied('2'))
  finisher.add(write('3', '4'))
  await clock.advance(later)
  // A mark says that it lies in the log for good.
  expect(acts).toEqual(['publish 1: 1; 2: 2; 3: 3,4'])
  published.resolve()
  await clock.settle()
  expect(acts.slice(1)).toEqual(['mark 1,3,4 for l2,log', 'mark 2 for log'])
})

test('writes that the log did not take in time are marked for L2 alone, even if it takes them later', async () => {
  for (const publish of [never, () => Promise.reject(new Error('the log is down'))]) {
    const { clock, acts, finisher } = setUp({ publish })
    finisher.add(write('1'))
    finisher.add(unapplied('2'))
    await clock.advance(later + deadlineMs)
    expect(acts).toEqual(['publish 1: 1; 2: 2', 'mark 1 for l2'])
  }
  const published = deferred<void>()
  const { clock, acts, finisher } = setUp({ publish: () => published.promise })
  finisher.add(unapplied('1'))
  await clock.advance(later + deadlineMs)
  published.resolve()
  await clock.advance(later)
  expect(acts).toEqual(['publish 1: 1'])
})

test('where nobody else tells the others, they are woken, and nothing is marked', async () => {
  const { clock, acts, finisher } = setUp({ wakesOthers: true })
  finisher.add(write('1'))
  finisher.add(write('2'))
  await clock.advance(5)
  expect(acts).toEqual(['wake the others'])
  await clock.advance(1_000)
  expect([acts.length, clock.timers]).toEqual([1, 0])
})

test('a mark that comes while others are on their way waits for its own turn', async () => {
  const ends = [deferred<void>(), deferred<void>()]
  let next = 0
  const { clock, marked, finisher } = setUp({ mark: () => ends[next++]?.promise ?? never() })
  finisher.add(write('1'))
  await clock.advance(later)
  finisher.add(write('2'))
  await clock.advance(later)
  expect(marked).toEqual([['1']])
  ends[0]?.resolve()
  await clock.settle()
  expect(marked).toEqual([['1'], ['2']])
  ends[1]?.resolve()
})

test('a flush resolves when everything added so far is marked, with no timer left', async () => {
  const end = deferred<void>()
  const { clock, marked, finisher } = setUp({ mark: () => end.promise })
  finisher.add(write('1'))
  const flushed = watch(finisher.flush())
  await clock.settle()
  expect([flushed.state, marked]).toEqual(['pending', [['1']]])
  end.resolve()
  await clock.settle()
  expect([flushed.state, clock.timers]).toEqual(['resolved', 0])
})

test('a flush of nothing asks nobody', async () => {
  const { acts, finisher } = setUp({ publish: () => Promise.resolve() })
  await finisher.flush()
  expect(acts).toEqual([])
})

test('an outbox that fails loses the mark and nothing else', async () => {
  let isFailing = true
  const { clock, marked, finisher } = setUp({
    mark: () => (isFailing ? Promise.reject(new Error('down')) : Promise.resolve()),
  })
  finisher.add(write('1'))
  await clock.advance(later)
  isFailing = false
  finisher.add(write('2'))
  await clock.advance(later)
  expect(marked).toEqual([['1'], ['2']])
})

test('an outbox that hangs is waited for until the deadline, by a flush as well', async () => {
  const { clock, finisher } = setUp({ mark: never })
  finisher.add(write('1'))
  const flushed = watch(finisher.flush())
  await clock.advance(deadlineMs - 1)
  expect(flushed.state).toBe('pending')
  await clock.advance(1)
  expect([flushed.state, clock.timers]).toEqual(['resolved', 0])
})

test('writes that wait for an outbox that hangs are bounded', async () => {
  const { clock, marked, finisher } = setUp({ mark: never })
  finisher.add(write('1'))
  await clock.advance(later)
  for (let one = 0; one < 30; one++) {
    finisher.add(write(...Array.from({ length: 1_000 }, (_, row) => `${one}${row}`)))
  }
  await clock.advance(deadlineMs)
  expect(marked.length).toBe(2)
  expect(marked[1]?.length).toBe(10_000)
})
