/** What makes the durable plane and the relay exact (DESIGN §6). */
import type { OutboxRow, Poll } from '../../../src/model/outbox-port.ts'
import type { SimulatedWorld } from '../world.ts'
import { type Mutant, noTrouble, quiet, rough } from './mutant.ts'
import { l2Of, logOf, outboxOf } from './ports.ts'

/** Nobody hears of a write but by the durable plane; nothing else is wrong. */
const tail = { ...quiet, isDeaf: true, ids: 2, weights: noTrouble }
const foreign = { ...noTrouble, 'foreign write': 40, write: 10 }
const logged = { ...tail, hasLog: true, weights: { ...noTrouble, log: 25 } }

/** What the reader of a log isn't told of: the loss for these reasons, and that it has its place again. */
const without = (reasons: readonly string[]) =>
  logOf((log) => ({
    listen: (listener) => {
      let isHidden = false
      return log.listen({
        positioned: (partitions) => {
          if (!isHidden) listener.positioned(partitions)
          isHidden = false
        },
        heard: (...record) => listener.heard(...record),
        lost: (reason, error) => {
          isHidden = reasons.includes(reason)
          if (!isHidden) listener.lost(reason, error)
        },
      })
    },
  }))

/** Rows by which those are left out that `isWanted` doesn't want. */
const only = (poll: Poll, isWanted: (row: OutboxRow) => boolean): Poll => ({
  ...poll,
  rows: poll.rows.filter(isWanted),
})

/** When each row was written, by the clock of the database. */
function writtenAt(world: SimulatedWorld): (row: OutboxRow) => number {
  const known = writtenIn.get(world)
  if (known) return known
  const times = new Map<string, number>()
  const { database } = world
  const record = database.record.bind(database)
  database.record = (...args) => {
    const ids = record(...args)
    for (const id of ids) times.set(id, world.clock.wallMs())
    return ids
  }
  const found = ({ rowId }: OutboxRow): number => times.get(rowId) ?? 0
  writtenIn.set(world, found)
  return found
}
const writtenIn = new WeakMap<SimulatedWorld, (row: OutboxRow) => number>()

export const planeMutants: readonly Mutant[] = [
  {
    name: 'outbox by id',
    what: 'the tail reads what lies after the largest row that it has seen: rows that commit late are lost',
    breaks: ['I1', 'I3'],
    where: { ...tail, weights: foreign },
    mutation: {
      parts: outboxOf((outbox, { database }) => {
        let last = 0
        return {
          poll: async (since, signal) => {
            const poll = await outbox.poll(since, signal)
            const rows = database.outboxRows.filter(({ rowId }) => Number(rowId) > last)
            last = Math.max(last, ...rows.map(({ rowId }) => Number(rowId)))
            return { ...poll, rows: since ? rows : [] }
          },
        }
      }),
    },
  },
  {
    name: 'relay by id',
    what: 'the relay goes on after the largest row that it has told of',
    breaks: ['I1', 'I2', 'I3'],
    where: { ...logged, weights: foreign },
    mutation: {
      parts: outboxOf((outbox, { database }) => {
        const told = relayedUpTo(database)
        return {
          claim: (destination, minAgeMs, tell, signal) =>
            outbox.claim(
              destination,
              minAgeMs,
              async (claim) => {
                const rows = claim.rows.filter(({ rowId }) => Number(rowId) > told[destination])
                const ids = await tell({ ...claim, rows })
                told[destination] = Math.max(told[destination], ...ids.map(Number))
                // What was passed over is as good as told.
                return claim.rows
                  .map(({ rowId }) => rowId)
                  .filter((id) => ids.includes(id) || Number(id) < told[destination])
              },
              signal,
            ),
        }
      }),
    },
  },
  {
    name: 'outbox trimmed by its time',
    what: 'rows are removed when they are older than the retention, whoever has seen them',
    breaks: ['I1', 'I3'],
    where: { ...tail, weights: { ...foreign, 'foreign write': 60 } },
    mutation: {
      parts: outboxOf((outbox, world) => {
        const at = writtenAt(world)
        return {
          poll: async (since, signal) => {
            const poll = await outbox.poll(since, signal)
            return only(poll, (row) => at(row) > world.clock.wallMs() - 400)
          },
        }
      }),
    },
  },
  {
    name: 'rows deleted early',
    what: 'a row is gone as soon as everybody who is told of it by name was told',
    breaks: ['I1', 'I3'],
    where: { ...tail, weights: noTrouble },
    mutation: {
      parts: outboxOf((outbox, world) => {
        const marked = markedIn(world)
        return {
          mark: (ids, told, signal) => {
            if (told.includes('l2')) for (const id of ids) marked.add(id)
            return outbox.mark(ids, told, signal)
          },
          poll: async (since, signal) =>
            only(await outbox.poll(since, signal), ({ rowId }) => !marked.has(rowId)),
        }
      }),
    },
  },
  {
    name: 'rest past the retention',
    what: 'who slept longer than rows are kept goes on as if it had heard all',
    breaks: ['I1', 'I3'],
    where: {
      ...tail,
      isForgetful: true,
      ttl: '10m',
      ids: 8,
      weights: { ...noTrouble, write: 10, 'foreign write': 0, stop: 2 },
    },
    mutation: {
      parts: outboxOf((outbox) => ({
        poll: async (since, signal) => {
          const poll = await outbox.poll(since, signal)
          return since ? { ...poll, pruned: since } : poll
        },
      })),
    },
  },
  {
    name: 'marked though Redis was not told',
    what: 'the row is done with when the event is out, though the second delete failed',
    breaks: ['I1', 'I3', 'I4'],
    where: { ...logged, weights: noTrouble },
    mutation: {
      parts: outboxOf((outbox) => ({
        mark: (ids, told, signal) => outbox.mark(ids, [...told, 'l2'], signal),
        // Nor does the delayed delete tell of it.
        page: async (since, until, after, signal) => {
          const page = await outbox.page(since, until, after, signal)
          return { ...page, rows: [] }
        },
      })),
      arrived: l2Of((l2) => ({
        invalidate: async (write, drops, options) =>
          write.xid % 3 === 0
            ? { kind: 'unavailable', cause: new Error('Redis did not answer in time') }
            : l2.invalidate(write, drops, options),
      })),
    },
  },
  {
    name: 'lost record tolerated',
    what: 'an offset of the log that nobody has read is no gap',
    breaks: ['I1', 'I3'],
    where: logged,
    mutation: { parts: without(['gap']) },
  },
  {
    name: 'resubscribed without emptying',
    what: 'who has lost its place in the log and found it again goes on',
    breaks: ['I1', 'I3'],
    where: logged,
    mutation: { parts: without(['rebalance', 'disconnected']) },
  },
  {
    name: 'barrier before its rows',
    what: 'the relay writes the barrier of a snapshot before the rows that it sees are told of',
    breaks: ['I1', 'I3'],
    where: { ...logged, brokenStatements: 0.3, delaysMs: rough, weights: foreign },
    mutation: {
      parts: outboxOf((outbox) => ({
        progress: async (asked, signal) => {
          const progress = await outbox.progress(asked, signal)
          const { l2, log } = progress.owed
          return {
            ...progress,
            owed: { l2: { ...l2, isTold: true }, log: { ...log, isTold: true } },
          }
        },
      })),
    },
  },
  {
    name: 'any barrier of the log',
    what: 'a probe is proven by whatever barrier comes next',
    breaks: ['I1', 'I3'],
    where: { ...logged, delaysMs: rough, weights: foreign },
    mutation: {
      parts: logOf((log) => ({
        listen: (listener) =>
          log.listen({
            positioned: (partitions) => listener.positioned(partitions),
            lost: (...why) => listener.lost(...why),
            heard: (partition, record) =>
              listener.heard(
                partition,
                record.kind === 'barrier'
                  ? { ...record, snapshot: seesAll(record.snapshot) }
                  : record,
              ),
          }),
      })),
    },
  },
]

export const seesAll = <S extends object>(snapshot: S): S => ({
  ...snapshot,
  xmin: Number.MAX_SAFE_INTEGER,
  xmax: Number.MAX_SAFE_INTEGER,
  xip: [],
})

function relayedUpTo(database: object): Record<'l2' | 'log', number> {
  const known = relayed.get(database) ?? { l2: 0, log: 0 }
  relayed.set(database, known)
  return known
}
const relayed = new WeakMap<object, Record<'l2' | 'log', number>>()

function markedIn(world: SimulatedWorld): Set<string> {
  const known = marked.get(world) ?? new Set()
  marked.set(world, known)
  return known
}
const marked = new WeakMap<SimulatedWorld, Set<string>>()
