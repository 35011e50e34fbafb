/** The story of a write (DESIGN §5), over the ports in memory. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { rowsOf } from '../../../src/coordinator/deletes.ts'
import type { WriteRequest } from '../../../src/coordinator/write.ts'
import { decodeEnvelope } from '../../../src/model/envelope.ts'
import { LockstepError } from '../../../src/model/errors.ts'
import type { Drop } from '../../../src/model/l2-port.ts'
import { visible, type WriteId } from '../../../src/model/snapshot.ts'
import type { Source } from '../../../src/model/source-port.ts'
import { parseTicket } from '../../../src/model/ticket.ts'
import { deferred } from '../../../src/resilience/deadline.ts'
import { quiet, watch } from '../../support/clock.ts'
import { over } from '../../support/over.ts'
import { type MemoryTx, RetryableError } from '../../support/ports.ts'
import {
  type City,
  cityEntity,
  now,
  type Process,
  type ProcessOptions,
  startProcess,
  timing,
  World,
} from './process.ts'

let world: World
let processes: Process[]
beforeEach(() => {
  world = new World()
  processes = []
  world.seed([1, 2, 42])
})
afterEach(async () => {
  for (const one of processes) await one.close()
  expect(world.clock.timers).toBe(0)
  // A transaction that was begun has ended.
  expect(world.database.openTransactions).toBe(0)
})

async function start(options: ProcessOptions = {}): Promise<Process> {
  const one = await startProcess(world, options)
  processes.push(one)
  return one
}

const codeOf = (error: unknown): unknown => (error instanceof LockstepError ? error.code : error)
const request: WriteRequest = {
  timeoutMs: timing.writeDeadlineMs,
  retries: 2,
  onFenceFailure: 'proceed',
}

/** Notes what happens, in order. */
function stepsOf() {
  const steps: string[] = []
  const options: ProcessOptions = {
    wrapL2: (l2) => ({
      ...l2,
      invalidate: (write, drops) => {
        steps.push(`delete ${drops.map(({ id }) => id).join()}`)
        return l2.invalidate(write, drops)
      },
    }),
    wrapSource: (source) => ({
      ...source,
      begin: async (signal) => {
        const transaction = await source.begin(signal)
        steps.push('begin')
        return {
          handle: transaction.handle,
          record: (keys) => {
            steps.push(`record ${keys.map(({ ids }) => ids.join()).join()}`)
            return transaction.record(keys)
          },
          commit: () => {
            steps.push('commit')
            return transaction.commit()
          },
          rollback: () => {
            steps.push('rollback')
            return transaction.rollback()
          },
        }
      },
    }),
    wrapOutbox: (outbox) =>
      over(outbox, {
        mark: (...args) => {
          steps.push('mark')
          return outbox.mark(...args)
        },
      }),
  }
  return { steps, options }
}

/** An L2 whose invalidations fail as the test says: which of them, counted from 1. */
function failingL2(fails: (call: number) => boolean): NonNullable<ProcessOptions['wrapL2']> {
  let calls = 0
  return (l2) => ({
    ...l2,
    invalidate: async (write, drops) =>
      fails(++calls)
        ? { kind: 'unavailable', cause: new Error('ECONNRESET') }
        : l2.invalidate(write, drops),
  })
}

describe('the steps', () => {
  test('record, first delete, COMMIT, second delete, and the mark behind', async () => {
    const { steps, options } = stepsOf()
    const one = await start(options)
    await now(world, one.write(42, 'new'))
    expect(steps).toEqual(['begin', 'record 42', 'delete 42', 'commit', 'delete 42'])
    await world.clock.advance(timing.pollIntervalMs)
    expect(steps.at(-1)).toBe('mark')
    expect(await world.owed('l2')).toBe(0)
  })

  test('the result is the value, a ticket of this write, and that it was fenced', async () => {
    const one = await start()
    const { value, ticket, fenced } = await now(world, one.write(42, 'new'))
    expect([value, fenced]).toEqual([{ id: 42, name: 'new' }, true])
    const writes = parseTicket(ticket)
    expect(writes.length).toBe(1)
    expect(visible(writes[0] as WriteId, world.database.snapshot())).toBe(true)
  })

  test('from the first delete on nobody fills, and from the return on nobody reads what was before', async () => {
    const { promise, resolve } = deferred<void>()
    const one = await start({
      wrapSource: (source) => ({
        ...source,
        begin: async (signal) => {
          const transaction = await source.begin(signal)
          const commit = async (): ReturnType<typeof transaction.commit> => {
            await promise
            return transaction.commit()
          }
          return Object.assign(Object.create(transaction), { ...transaction, commit })
        },
      }),
    })
    const other = await start()
    await now(world, other.name(42))
    const written = watch(one.write(42, 'new'))
    await world.clock.settle()
    expect(world.redis.valueBytes('city', 1, '42')).toBeUndefined()
    expect(await now(world, other.name(42, { consistency: 'strong' }))).toBe('old')
    expect(world.redis.valueBytes('city', 1, '42')).toBeUndefined()
    resolve()
    await world.clock.settle()
    expect(written.state).toBe('resolved')
    expect(await now(world, other.name(42, { consistency: 'strong' }))).toBe('new')
  })

  test('L1 of this process is told at once, that of others by the fast plane', async () => {
    const [one, other] = [await start(), await start()]
    await now(world, one.name(42))
    await now(world, other.name(42))
    await now(world, one.write(42, 'new'))
    expect([one.reader.peek(42), other.reader.peek(42)]).toEqual([undefined, undefined])
  })

  test('with no fast plane L1 of others is told by the outbox, within a poll', async () => {
    const [one, other] = [await start(), await start({ isTold: false })]
    await now(world, other.name(42))
    await now(world, one.write(42, 'new'))
    expect(other.reader.peek(42)).toMatchObject({ name: 'old' })
    await world.clock.advance(timing.pollIntervalMs)
    expect(await now(world, other.name(42))).toBe('new')
  })

  test('every schema version that may lie in L2 is dropped, the own one too', async () => {
    world = new World({ versions: [1, 3] })
    world.seed([42])
    const drops: (readonly Drop[])[] = []
    const one = await start({
      entity: cityEntity({ version: 4 }),
      wrapL2: (l2) => ({
        ...l2,
        invalidate: (write, some) => {
          drops.push(some)
          return l2.invalidate(write, some)
        },
      }),
    })
    await now(world, one.write(42, 'new'))
    expect(drops.map(([drop]) => drop?.versions)).toEqual([
      [1, 3, 4],
      [1, 3, 4],
    ])
  })

  test('several keys are told in one call, and recorded in one row an entity', async () => {
    const { steps, options } = stepsOf()
    const one = await start(options)
    const keys = [1, 2, 42].map(one.keyOf)
    const run = (tx: MemoryTx) => keys.map(({ id }) => tx.put('city', id, { id, name: 'new' }))
    await now(
      world,
      one.writer.write(run, () => keys, request),
    )
    expect(steps).toEqual(['begin', 'record 1,2,42', 'delete 1,2,42', 'commit', 'delete 1,2,42'])
    expect(world.database.outboxRows.map(({ ids }) => ids)).toEqual([['1', '2', '42']])
  })

  test('the keys may be known only from the rows that were written', async () => {
    const one = await start()
    const run = (tx: MemoryTx) => [tx.put('city', 77, { id: 77, name: 'made' })]
    const keysOf = (rows: readonly City[]) => rows.map(({ id }) => one.keyOf(id))
    expect(await now(world, one.reader.get(77))).toBeUndefined()
    await now(world, one.writer.write(run, keysOf, request))
    expect(await now(world, one.name(77))).toBe('made')
  })

  test('without L2 the write is told to L1 and the outbox, and is as good as fenced', async () => {
    const one = await start({ hasL2: false })
    await now(world, one.name(42))
    const { fenced } = await now(world, one.write(42, 'new'))
    expect(fenced).toBe(true)
    expect(await now(world, one.name(42, { consistency: 'strong' }))).toBe('new')
    expect(world.database.outboxRows.length).toBe(1)
  })
})

describe('what goes wrong before the COMMIT', () => {
  test('an error of the callback comes out as it is, and nothing was written or told', async () => {
    const { steps, options } = stepsOf()
    const one = await start(options)
    const error = new TypeError('my own')
    const run = (tx: MemoryTx): City => {
      tx.put('city', 42, { id: 42, name: 'never' })
      throw error
    }
    const written = watch(one.writer.write(run, () => [one.keyOf(42)], request))
    await world.clock.settle()
    expect(written.error).toBe(error)
    expect(steps).toEqual(['begin', 'rollback'])
    expect(await now(world, one.name(42))).toBe('old')
  })

  test('keys that can not be told roll the write back', async () => {
    const { steps, options } = stepsOf()
    const one = await start(options)
    const keysOf = () => {
      throw new LockstepError('WRITE_KEYS_MISSING', 'no rows')
    }
    const written = watch(one.writer.write(() => [], keysOf, request))
    await world.clock.settle()
    expect([codeOf(written.error), steps]).toEqual(['WRITE_KEYS_MISSING', ['begin', 'rollback']])
  })

  test('a retryable error runs the callback again, in a new transaction, at most twice', async () => {
    const { steps, options } = stepsOf()
    const one = await start(options)
    let runs = 0
    const run = (tx: MemoryTx): City => {
      if (++runs < 3) throw new RetryableError('deadlock')
      return tx.put('city', 42, { id: 42, name: `run ${runs}` })
    }
    const written = watch(one.writer.write(run, () => [one.keyOf(42)], request))
    await world.clock.advance(1_000)
    expect(written.value?.value.name).toBe('run 3')
    expect(steps.filter((step) => step === 'begin' || step === 'rollback')).toEqual([
      'begin',
      'rollback',
      'begin',
      'rollback',
      'begin',
    ])
    runs = -10
    const failed = watch(one.writer.write(run, () => [one.keyOf(42)], request))
    await world.clock.advance(1_000)
    expect([failed.error, runs]).toEqual([new RetryableError('deadlock'), -7])
  })

  test('with retries: 0 the callback runs once', async () => {
    const one = await start()
    let runs = 0
    const run = (): City => {
      runs++
      throw new RetryableError('deadlock')
    }
    const written = watch(one.writer.write(run, () => [], { ...request, retries: 0 }))
    await world.clock.advance(1_000)
    expect([written.state, runs]).toEqual(['rejected', 1])
  })

  test('an error that will not go away is not retried', async () => {
    const one = await start()
    let runs = 0
    const run = (): City => {
      runs++
      throw new Error('unique violation')
    }
    const written = watch(one.writer.write(run, () => [], request))
    await world.clock.advance(1_000)
    expect([written.state, runs]).toEqual(['rejected', 1])
  })

  test('a callback that hangs is rolled back at the deadline, once, with WRITE_TIMEOUT', async () => {
    const { steps, options } = stepsOf()
    const one = await start(options)
    const run = () => new Promise<City>(() => {})
    const written = watch(one.writer.write(run, () => [], request))
    await world.clock.advance(timing.writeDeadlineMs - 1)
    expect(written.state).toBe('pending')
    await world.clock.advance(1)
    expect([codeOf(written.error), steps]).toEqual(['WRITE_TIMEOUT', ['begin', 'rollback']])
  })

  test('a transaction that begins when its caller has gone is rolled back', async () => {
    const { promise, resolve } = deferred<void>()
    const one = await start({
      wrapSource: (source) => ({
        ...source,
        begin: async () => {
          const transaction = await source.begin(new AbortController().signal)
          await promise
          return transaction
        },
      }),
    })
    const written = watch(one.write(42, 'new'))
    await world.clock.advance(timing.writeDeadlineMs)
    expect([codeOf(written.error), world.database.openTransactions]).toEqual(['WRITE_TIMEOUT', 1])
    resolve()
    await world.clock.settle()
    expect(world.database.openTransactions).toBe(0)
  })

  test('the caller’s signal rolls the write back, up to the COMMIT', async () => {
    const { steps, options } = stepsOf()
    const one = await start(options)
    const controller = new AbortController()
    const run = () => new Promise<City>(() => {})
    const written = watch(
      one.writer.write(run, () => [], { ...request, signal: controller.signal }),
    )
    await world.clock.settle()
    controller.abort('gone')
    await world.clock.settle()
    expect([written.error, steps]).toEqual(['gone', ['begin', 'rollback']])
  })

  test('a signal that has aborted writes nothing', async () => {
    const one = await start()
    const written = watch(one.write(42, 'new', { signal: AbortSignal.abort('before') }))
    await world.clock.settle()
    expect(written.error).toBe('before')
    expect(await now(world, one.name(42))).toBe('old')
  })

  test('a caller that has gone is not written for again after a pause', async () => {
    const one = await start()
    const controller = new AbortController()
    let runs = 0
    const run = (): City => {
      runs++
      throw new RetryableError('deadlock')
    }
    const written = watch(
      one.writer.write(run, () => [], { ...request, signal: controller.signal }),
    )
    await world.clock.settle()
    controller.abort('gone')
    await world.clock.advance(1_000)
    expect([written.state, runs]).toEqual(['rejected', 1])
  })

  test('a rollback that hangs is not waited for beyond the deadline', async () => {
    const one = await start({
      wrapSource: (source) => ({
        ...source,
        begin: async (signal) => {
          const transaction = await source.begin(signal)
          const rollback = async (): Promise<void> => {
            await transaction.rollback()
            // The answer is lost.
            await new Promise(() => {})
          }
          return { ...transaction, rollback }
        },
      }),
    })
    const run = (): City => {
      throw new Error('my own')
    }
    const written = watch(one.writer.write(run, () => [], request))
    await world.clock.advance(timing.writeDeadlineMs)
    expect(written.state).toBe('rejected')
  })

  test('wherever the abort falls, the transaction is committed or rolled back, never left open', async () => {
    const leftOpen: number[] = []
    for (let microtasks = 0; microtasks < 40; microtasks++) {
      world = new World()
      world.seed([42])
      const one = await startProcess(world)
      const controller = new AbortController()
      const written = watch(one.write(42, 'new', { signal: controller.signal }))
      for (let count = 0; count < microtasks; count++) await Promise.resolve()
      controller.abort(new Error('gone'))
      await world.clock.settle()
      if (world.database.openTransactions > 0) leftOpen.push(microtasks)
      const name = written.state === 'resolved' ? 'new' : 'old'
      expect(world.database.rows('city', [42])).toEqual([{ id: 42, name }])
      await one.close()
    }
    world = new World()
    expect(leftOpen).toEqual([])
  })
})

describe('the COMMIT', () => {
  test('a COMMIT that is refused for a reason that may go away is tried again', async () => {
    const one = await start()
    one.outcomes.push(new RetryableError('could not serialize access'))
    const written = watch(one.write(42, 'new'))
    await world.clock.advance(1_000)
    expect(written.value?.fenced).toBe(true)
  })

  test('a COMMIT that was lost and rolled back says so, and does not run the callback again', async () => {
    const one = await start()
    one.outcomes.push('aborted')
    const written = watch(one.write(42, 'new'))
    await world.clock.advance(1_000)
    expect([codeOf(written.error), world.database.outboxRows.length]).toEqual(['WRITE_ABORTED', 0])
    expect(await now(world, one.name(42))).toBe('old')
  })

  test.each(['unknown, committed', 'unknown, aborted'] as const)(
    'an ambiguous COMMIT (%s) says so, and never runs the callback again',
    async (outcome) => {
      const one = await start()
      one.outcomes.push(outcome)
      let runs = 0
      const run = (tx: MemoryTx): City => {
        runs++
        return tx.put('city', 42, { id: 42, name: 'new' })
      }
      const written = watch(one.writer.write(run, () => [one.keyOf(42)], request))
      await world.clock.advance(1_000)
      expect([codeOf(written.error), runs]).toEqual(['WRITE_OUTCOME_UNKNOWN', 1])
    },
  )

  test('an ambiguous COMMIT never runs the callback again, whatever the source calls retryable', async () => {
    const one = await start({
      wrapSource: (source: Source<MemoryTx>) => ({ ...source, isRetryable: () => true }),
    })
    one.outcomes.push('unknown, committed')
    let runs = 0
    const run = (tx: MemoryTx): City => {
      runs++
      return tx.put('city', 42, { id: 42, name: `run ${runs}` })
    }
    const written = watch(one.writer.write(run, () => [one.keyOf(42)], request))
    await world.clock.advance(1_000)
    expect([codeOf(written.error), runs]).toEqual(['WRITE_OUTCOME_UNKNOWN', 1])
  })

  test('a write that committed and could not say so is still told to every tier, by some instance', async () => {
    const [one, other] = [await start(), await start()]
    one.outcomes.push('unknown, committed')
    await now(world, other.name(42))
    watch(one.write(42, 'new'))
    await world.clock.advance(timing.writeDeadlineMs + 1_000)
    expect(await world.owed('l2')).toBe(0)
    expect(await now(world, other.name(42))).toBe('new')
  })

  test('once the COMMIT is sent neither the deadline nor the signal gives it up', async () => {
    const { promise, resolve } = deferred<void>()
    const one = await start({
      wrapSource: (source) => ({
        ...source,
        begin: async (signal) => {
          const { handle, record, commit, rollback } = await source.begin(signal)
          return { handle, record, rollback, commit: () => promise.then(commit) }
        },
      }),
    })
    const controller = new AbortController()
    const written = watch(one.write(42, 'new', { signal: controller.signal }))
    await world.clock.advance(timing.writeDeadlineMs * 3)
    controller.abort('gone')
    await world.clock.settle()
    expect(written.state).toBe('pending')
    resolve()
    await world.clock.settle()
    expect(written.value?.fenced).toBe(true)
  })
})

describe('when Redis can not be told', () => {
  test('a first delete that fails: the write goes on, and says that it was not fenced', async () => {
    const one = await start({ wrapL2: failingL2((call) => call === 1) })
    const { fenced } = await now(world, one.write(42, 'new'))
    expect(fenced).toBe(false)
    await world.clock.advance(timing.pollIntervalMs)
    // The second delete was told, so the row is applied.
    expect(await world.owed('l2')).toBe(0)
  })

  test('with onFenceFailure: reject it is rolled back', async () => {
    const { steps, options } = stepsOf()
    const one = await start({ ...options, wrapL2: failingL2((call) => call === 1) })
    const written = watch(one.write(42, 'new', { onFenceFailure: 'reject' }))
    await world.clock.settle()
    expect([codeOf(written.error), steps]).toEqual([
      'WRITE_NOT_FENCED',
      ['begin', 'record 42', 'rollback'],
    ])
    expect((written.error as LockstepError).cause).toEqual(new Error('ECONNRESET'))
    expect(await now(world, one.name(42))).toBe('old')
  })

  test('a second delete that fails is tried again three times', async () => {
    const one = await start({ wrapL2: failingL2((call) => call > 1 && call < 5) })
    const written = watch(one.write(42, 'new'))
    await world.clock.advance(1_000)
    expect(written.value?.fenced).toBe(true)
  })

  test('a second delete that keeps failing: not fenced, not marked, and some instance finishes', async () => {
    const one = await start({ isRelaying: false, wrapL2: failingL2((call) => call > 1) })
    const written = watch(one.write(42, 'new'))
    await world.clock.advance(1_000)
    expect(written.value?.fenced).toBe(false)
    await world.clock.advance(1_000)
    expect(await world.owed('l2')).toBe(1)
    await start()
    await world.clock.advance(1_000)
    expect(await world.owed('l2')).toBe(0)
  })

  test('with onFenceFailure: reject a second delete that fails rejects nothing: it has committed', async () => {
    const one = await start({ wrapL2: failingL2((call) => call > 1) })
    const written = watch(one.write(42, 'new', { onFenceFailure: 'reject' }))
    await world.clock.advance(1_000)
    expect(written.value?.fenced).toBe(false)
  })

  test('while L2 has not been told, what it still has is no answer to who was, and enters no L1', async () => {
    const one = await start({ wrapL2: failingL2(() => true), isRelaying: false })
    const other = await start({ isRelaying: false })
    await now(world, other.name(42))
    watch(one.write(42, 'new'))
    await world.clock.advance(2 * timing.stalenessBoundMs)
    const late = await start({ isRelaying: false })
    // It was not told. I4 is suspended, I3 is not.
    const unknown = await now(world, late.reader.getEntry(42, {}))
    expect([unknown.tier, unknown.isProven]).toEqual(['l2', false])
    expect(late.reader.peek(42)).toBeUndefined()
    for (const { reader } of [one, other]) {
      expect(reader.peek(42)).toBeUndefined()
      expect(await now(world, reader.get(42))).toEqual({ id: 42, name: 'new' })
    }
  })

  test('a close during the second delete ends it, and the write is what it is: committed', async () => {
    const one = await start({ wrapL2: failingL2((call) => call > 1) })
    const written = watch(one.write(42, 'new'))
    await world.clock.settle()
    one.closing.abort(new LockstepError('CLOSED', 'the cache is closed'))
    await world.clock.settle()
    expect(written.value?.fenced).toBe(false)
  })
})

describe('write-through', () => {
  const entity = cityEntity({ writeThrough: true })

  test('the new value lies in L2 when the call returns, and sees its own write', async () => {
    const [one, other] = [await start({ entity }), await start({ entity })]
    const { ticket } = await now(world, one.write(42, 'new'))
    const entry = await now(world, other.reader.getEntry(42, { ticket }))
    expect([entry.tier, (entry.value as City).name]).toEqual(['l2', 'new'])
    expect(other.loads).toEqual([])
  })

  test('it is filled under the nonce of the first delete, the snapshot of before the transaction, and the own xid', async () => {
    const drops: Drop[] = []
    const nonces: string[] = []
    const one = await start({
      entity,
      wrapL2: (l2) => ({
        ...l2,
        invalidate: async (write, some) => {
          const dropped = await l2.invalidate(write, some)
          drops.push(...some)
          nonces.push(...(dropped.kind === 'dropped' ? dropped.nonces : []))
          return dropped
        },
      }),
    })
    const before = one.probes.newest
    const { ticket } = await now(world, one.write(42, 'new'))
    const [write] = parseTicket(ticket) as [WriteId]
    const [first, second] = drops
    expect(first?.through).toBeUndefined()
    expect(second?.through?.snapshot).toEqual({ ...before, own: write.xid })
    expect(second?.through?.lease.nonce).toBe(nonces[0])
    expect(second?.through?.version).toBe(entity.version)
  })

  test('a second write between the two deletes keeps the first one’s value out', async () => {
    const other = await start({ entity })
    let isFirst = true
    const one = await start({
      entity,
      wrapSource: (source) => ({
        ...source,
        begin: async (signal) => {
          const { handle, record, commit, rollback } = await source.begin(signal)
          return {
            handle,
            record,
            rollback,
            commit: async () => {
              const outcome = await commit()
              // Another write of the same row, from begin to end, before our second delete.
              if (isFirst) await other.write(42, 'newest')
              isFirst = false
              return outcome
            },
          }
        },
      }),
    })
    await now(world, one.write(42, 'new'))
    expect(await now(world, other.name(42, { consistency: 'strong' }))).toBe('newest')
    const third = await start({ entity })
    expect(await now(world, third.name(42))).toBe('newest')
  })

  test.each([['the first delete failed: no nonce', failingL2((call) => call === 1)]])(
    'nothing is filled when %s',
    async (_, wrapL2) => {
      const one = await start({ entity, wrapL2 })
      await now(world, one.write(42, 'new'))
      expect(world.redis.valueBytes('city', 1, '42')).toBeUndefined()
    },
  )

  test('nothing is filled when the fence was evicted between the deletes', async () => {
    const one = await start({
      entity,
      wrapSource: (source) => ({
        ...source,
        begin: async (signal) => {
          const { handle, record, commit, rollback } = await source.begin(signal)
          return {
            handle,
            record,
            rollback,
            commit: () => {
              world.redis.flush()
              return commit()
            },
          }
        },
      }),
    })
    const { fenced } = await now(world, one.write(42, 'new'))
    expect(world.redis.valueBytes('city', 1, '42')).toBeUndefined()
    expect(fenced).toBe(true)
  })

  test.each<[what: string, value: unknown]>([
    ['no row', undefined],
    ['a count, as an update without returning gives', 1],
    ['rows of other ids', [{ id: 1, name: 'x' }]],
    ['a row that the codec cannot take', { id: 42, f: () => 1 }],
    ['a row without an id', { name: 'x' }],
  ])('a callback that returns %s: the write succeeds, and nothing is filled', async (_, value) => {
    const one = await start({ entity })
    const run = (tx: MemoryTx): unknown => {
      tx.put('city', 42, { id: 42, name: 'new' })
      return value
    }
    const { fenced } = await now(
      world,
      one.writer.write(run, () => [one.keyOf(42)], request),
    )
    expect(fenced).toBe(true)
    expect(world.redis.valueBytes('city', 1, '42')).toBeUndefined()
    expect(await now(world, one.name(42))).toBe('new')
  })

  test('of a row that is too big it is told that it is, and readers load it', async () => {
    const one = await start({ entity })
    const name = 'x'.repeat(2 * 1024 * 1024)
    const { fenced } = await now(world, one.write(42, name))
    expect(fenced).toBe(true)
    const bytes = world.redis.valueBytes('city', 1, '42') as Buffer
    expect(decodeEnvelope(bytes)).toMatchObject({ payload: undefined, form: 'too-big' })
    const other = await start({ entity })
    expect(await now(world, other.name(42))).toBe(name)
    expect(other.calls.map(({ act }) => act)).toEqual(['lookup'])
  })

  test('a big row is filled compressed', async () => {
    const one = await start({ entity })
    const name = 'x'.repeat(64 * 1024)
    await now(world, one.write(42, name))
    expect(world.redis.valueBytes('city', 1, '42')?.length).toBeLessThan(2_000)
    const other = await start({ entity })
    expect(await now(world, other.name(42))).toBe(name)
    expect(other.loads).toEqual([])
  })

  test('of several rows each id gets its own', async () => {
    const one = await start({ entity })
    const keys = [1, 2, 42].map(one.keyOf)
    const run = (tx: MemoryTx): City[] =>
      [42, 1, 2].map((id) => tx.put('city', id, { id, name: `name of ${id}` }))
    await now(
      world,
      one.writer.write(run, () => keys, request),
    )
    const other = await start({ entity })
    const values = await now(world, other.reader.getMany([1, 2, 42], {}))
    expect([...values.values()].map((city) => (city as City).name)).toEqual([
      'name of 1',
      'name of 2',
      'name of 42',
    ])
    expect(other.loads).toEqual([])
  })

  test('a write that runs again fills under the fence of the run that committed', async () => {
    const one = await start({ entity })
    one.outcomes.push(new RetryableError('could not serialize access'))
    const written = watch(one.write(42, 'new'))
    await world.clock.advance(1_000)
    expect(written.state).toBe('resolved')
    const other = await start({ entity })
    expect(await now(world, other.name(42))).toBe('new')
  })
})

describe('the end of a writer', () => {
  test('a closed writer takes no more writes, and ends those under way', async () => {
    const { promise, resolve } = deferred<void>()
    const one = await start()
    const run = async (tx: MemoryTx): Promise<City> => {
      await promise
      return tx.put('city', 42, { id: 42, name: 'new' })
    }
    const underWay = watch(one.writer.write(run, () => [one.keyOf(42)], request))
    await world.clock.settle()
    one.writer.close()
    const drained = watch(one.writer.drain())
    const late = watch(one.write(1, 'new'))
    await world.clock.settle()
    expect([codeOf(late.error), drained.state]).toEqual(['CLOSED', 'pending'])
    resolve()
    await world.clock.settle()
    expect([underWay.value?.fenced, drained.state]).toEqual([true, 'resolved'])
  })

  test('a write that fails while it is drained is no unhandled rejection', async () => {
    const one = await start()
    const run = (): Promise<City> => Promise.reject(new Error('mine'))
    const written = watch(one.writer.write(run, () => [], request))
    one.writer.close()
    await now(world, one.writer.drain())
    await quiet()
    expect(written.state).toBe('rejected')
  })
})

test('each try of the two deletes is counted by its answer', async () => {
  let refusals = 0
  const one = await start({
    wrapL2: (l2) => ({
      ...l2,
      invalidate: async (write, drops) =>
        ++refusals === 2
          ? { kind: 'unavailable', cause: new Error('no answer') }
          : l2.invalidate(write, drops),
    }),
  })
  const written = watch(one.write(42, 'new'))
  await world.clock.advance(1_000)
  expect(written.value?.fenced).toBe(true)
  expect(one.writes).toMatchObject({
    firstDelete: { dropped: 1, unavailable: 0 },
    secondDelete: { dropped: 1, unavailable: 1 },
  })
})

test('rows are what is an object: one, several, or none', () => {
  expect(rowsOf({ id: 1 })).toEqual([{ id: 1 }])
  expect(rowsOf([{ id: 1 }, null, 2, 'x', { id: 2 }])).toEqual([{ id: 1 }, { id: 2 }])
  for (const none of [undefined, null, 1, 'x', true]) expect(rowsOf(none)).toEqual([])
})
