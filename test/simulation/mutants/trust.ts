/** What makes trust exact: in L1 by its clock, its floor and its stripes, in L2 by the barrier beside the value (DESIGN §3, §6, §7). */

import type { AnyEntity } from '../../../src/model/entity.ts'
import type { L1Key } from '../../../src/model/id.ts'
import type { Candidate, Region } from '../../../src/model/l1-port.ts'
import type { Lookup, Stored } from '../../../src/model/l2-port.ts'
import type { Outbox, Poll } from '../../../src/model/outbox-port.ts'
import { covers, type Snapshot, visible, type WriteId } from '../../../src/model/snapshot.ts'
import type { Source } from '../../../src/model/source-port.ts'
import type { Parts } from '../../../src/running-cache.ts'
import type { MemoryTx } from '../../../src/testing/memory-source.ts'
import type { Mutation, Place } from '../mutation.ts'
import { rowsUnder } from '../process.ts'
import { type Mutant, noTrouble, quiet, rough } from './mutant.ts'
import { seesAll } from './plane.ts'
import { l2Of, outboxOf, regionOf } from './ports.ts'

const deaf = { ...quiet, isDeaf: true, ids: 2, delaysMs: rough }
const foreign = { ...noTrouble, 'foreign write': 30, write: 20 }

/** The clock of a process, with one of the two made of something else. */
const clocks =
  (
    readings: (place: {
      monotonicMs: () => number
      wallMs: () => number
      stoppedMs: () => number
    }) => {
      monotonicMs: () => number
      wallMs: () => number
    },
  ): NonNullable<Mutation['clock']> =>
  (clock, _world, line) => ({
    ...clock,
    ...readings({
      monotonicMs: () => clock.monotonicMs(),
      wallMs: () => clock.wallMs(),
      stoppedMs: () => line.stoppedMs,
    }),
  })

/** A barrier beside each value, in place of the one that lay there. */
const besides = (
  barrierOf: (stored: Stored, place: Place['world']) => Snapshot | undefined,
): NonNullable<Mutation['parts']> =>
  l2Of((l2, world) => ({
    lookup: async (entity, ids) =>
      (await l2.lookup(entity, ids)).map((found) =>
        withBarrier(found, (one) => barrierOf(one, world)),
      ),
  }))

function withBarrier(found: Lookup, barrierOf: (stored: Stored) => Snapshot | undefined): Lookup {
  if (found.kind !== 'fresh' && found.kind !== 'stale') return found
  return { ...found, stored: { ...found.stored, barrier: barrierOf(found.stored) } }
}

export const trustMutants: readonly Mutant[] = [
  {
    name: 'heartbeat by the wall clock',
    what: 'how long trust lasts is counted by a clock that is set at will',
    breaks: ['I3'],
    where: { ...deaf, weights: { ...foreign, 'step a clock': 15, 'cut off': 15 } },
    mutation: {
      clock: clocks(({ wallMs }) => ({ monotonicMs: wallMs, wallMs })),
    },
  },
  {
    name: 'clock that stands still',
    what: 'while a process is stopped its clock stands still, as one that is driven by a timer does',
    breaks: ['I3'],
    where: { ...deaf, weights: { ...foreign, stop: 25 } },
    mutation: {
      clock: clocks(({ monotonicMs, wallMs, stoppedMs }) => ({
        monotonicMs: () => monotonicMs() - stoppedMs(),
        wallMs: () => wallMs() - stoppedMs(),
      })),
    },
  },
  {
    name: 't0 after S0',
    what: 'the snapshot that trust stands on was taken before the time that it is dated',
    breaks: ['I3'],
    where: { ...deaf, hasL2: false, weights: foreign },
    mutation: {
      parts: outboxOf(earlier),
    },
  },
  {
    name: 'no floor',
    what: 'what is loaded need not see what trust stands on',
    breaks: ['I1', 'I3'],
    where: { ...deaf, weights: { ...foreign, 'crash PostgreSQL': 8 } },
    mutation: {
      parts: regionOf((region) => {
        let floor: Snapshot | undefined
        return {
          settle: (given) => {
            floor = given
            region.settle(given)
          },
          fillFromSource: (key, candidate) => fillLabelled(region, key, candidate, floor),
        }
      }),
    },
  },
  {
    name: 'stripes forgotten',
    what: 'a write that this process was told of, and its floor does not see, is not remembered',
    breaks: ['I1', 'I3'],
    where: { ...deaf, weights: foreign },
    mutation: {
      parts: regionOf((region) => {
        // Told only of what it has: the value goes, and nothing is left of the write.
        const told = (key: L1Key, write: WriteId): void => {
          const slot = region.find(key)
          if (slot === undefined || visible(write, region.candidateAt(slot).snapshot)) return
          region.told(key, write)
        }
        return { told }
      }),
    },
  },
  {
    name: 'last write only',
    what: 'a stripe remembers one write, the last',
    breaks: ['I1', 'I3'],
    where: { ...deaf, isDeaf: false, weights: foreign },
    mutation: {
      parts: regionOf((region) => {
        let last: WriteId | undefined
        const admits = ({ snapshot }: Candidate): boolean => !last || visible(last, snapshot)
        return {
          told: (key, write) => {
            last = write
            const slot = region.find(key)
            if (slot === undefined || visible(write, region.candidateAt(slot).snapshot)) return
            region.told(key, write)
          },
          fillFromSource: (key, candidate) =>
            admits(candidate) && region.fillFromSource(key, candidate),
          fillFromL2: (key, candidate, barrier) =>
            admits(candidate) && region.fillFromL2(key, candidate, barrier),
        }
      }),
    },
  },
  {
    name: 'any barrier beside a value',
    what: 'a value of Redis is proven by whatever barrier lies beside it',
    breaks: ['I1', 'I3', 'I4'],
    where: { ...deaf, lostCalls: 0.3, weights: foreign },
    mutation: { parts: besides(({ barrier }) => barrier && seesAll(barrier)) },
  },
  {
    name: 'no barrier in Redis',
    what: 'what the bus has proven is believed of Redis',
    breaks: ['I1', 'I3', 'I4'],
    where: { ...deaf, weights: { ...foreign, 'fail over Redis': 10 } },
    mutation: { parts: besides((_, { database }) => database.snapshot()) },
  },
  {
    name: 'two trips',
    what: 'the value is read first, and the barrier by a second command',
    breaks: ['I1', 'I3', 'I4'],
    where: { ...deaf, hasLog: true, pollIntervalMs: 40, weights: { ...foreign, log: 12 } },
    mutation: {
      parts: l2Of((l2, world) => ({
        lookup: async (entity, ids) => {
          const found = await l2.lookup(entity, ids)
          await world.pause(200)
          const later = await l2.lookup(entity, ids)
          const barrier = later.flatMap((one) =>
            'stored' in one ? (one.stored.barrier ?? []) : [],
          )[0]
          return found.map((one) => withBarrier(one, () => barrier))
        },
      })),
    },
  },
  {
    name: 'no identity',
    what: 'the barrier is written to whatever server answers',
    breaks: ['I1', 'I3', 'I4'],
    where: { ...deaf, weights: { ...foreign, 'fail over Redis': 12 } },
    mutation: {
      redis: (redis) => {
        const { identity } = redis
        Object.defineProperty(redis, 'identity', { get: () => identity, set: () => {} })
      },
    },
  },
  {
    name: 'no replay',
    what: 'a Redis that has forgotten gets its barrier, and is told nothing again',
    breaks: ['I1', 'I3', 'I4'],
    where: { ...deaf, weights: { ...foreign, 'fail over Redis': 12 } },
    mutation: {
      parts: outboxOf((outbox) => ({
        page: async (since, until, after, signal) => {
          const page = await outbox.page(since, until, after, signal)
          return until === undefined ? { ...page, rows: [] } : page
        },
      })),
    },
  },
  {
    name: 'replay of what is left',
    what: 'a Redis that has forgotten more than the outbox remembers is told of what is left, and no more',
    breaks: ['I1', 'I3', 'I4'],
    where: {
      ...deaf,
      isForgetful: true,
      ttl: '10h',
      weights: { ...foreign, 'fail over Redis': 1.5, suspend: 6 },
    },
    mutation: {
      parts: l2Of((l2) => ({
        restore: (change, snapshot) => l2.restore(change, snapshot, undefined),
      })),
    },
  },
  {
    name: 'replica that lags',
    what: 'a load of a replica need not see what the primary had when it began',
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: { ...deaf, hasReplicas: true, weights: noTrouble },
    mutation: { parts: replicas(() => true) },
  },
  {
    name: 'standby like a primary',
    what: 'on a standby what lies below xmax counts as seen',
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: { ...deaf, hasReplicas: true, weights: foreign },
    mutation: { parts: replicas((shown, least) => shown.xmax >= least.xmax) },
  },
]

/** What `wrapped` would answer now, said when it is asked the next time. */
function earlier(outbox: Outbox): Pick<Outbox, 'poll'> {
  const never = new AbortController().signal
  let held: Promise<Poll> | undefined
  return {
    poll: async (since, signal) => {
      const poll = await (held ?? outbox.poll(since, signal))
      held = outbox.poll(poll.snapshot, never)
      held.catch(() => {})
      return poll
    },
  }
}

/** Fills what is refused because of the floor, as if it had been loaded under it. */
function fillLabelled(
  region: Region,
  key: L1Key,
  candidate: Candidate,
  floor: Snapshot | undefined,
): boolean {
  const isBehind = floor !== undefined && !covers(candidate.snapshot, floor)
  return region.fillFromSource(key, isBehind ? { ...candidate, snapshot: floor } : candidate)
}

/** Which of what it shows a replica may be asked for. */
function replicas(
  isWanted: (shown: Snapshot, least: Snapshot) => boolean,
): NonNullable<Mutation['parts']> {
  return (parts, { world }) => {
    const source = parts.source as unknown as Source<MemoryTx>
    return {
      ...parts,
      source: {
        ...source,
        replicas: {
          isReady: true,
          load: async (
            entity: AnyEntity,
            ids: readonly unknown[],
            least: Snapshot,
            signal: AbortSignal,
          ) => {
            const shown = world.replayed
            if (shown.incarnation !== least.incarnation || !isWanted(shown, least)) return undefined
            return entity.load([...ids], { db: rowsUnder(world, shown), signal })
          },
        },
      } as unknown as Parts['source'],
    }
  }
}
