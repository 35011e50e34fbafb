import type { Fill } from '../../../src/model/l2-port.ts'
import type { WriteId } from '../../../src/model/snapshot.ts'
import type { MemoryRedis } from '../../../src/testing/memory-redis.ts'
import { over } from '../../support/over.ts'
import type { SimulatedWorld } from '../world.ts'
import { type Mutant, noTrouble, quiet, rough } from './mutant.ts'
import { l2Of } from './ports.ts'

type Overwrite = Partial<Pick<MemoryRedis, 'fillOne' | 'addTombstone' | 'openFence' | 'readFence'>>

const redis =
  (replaced: (redis: MemoryRedis) => Overwrite) =>
  (one: MemoryRedis): void => {
    const own = {
      fillOne: one.fillOne.bind(one),
      addTombstone: one.addTombstone.bind(one),
      openFence: one.openFence.bind(one),
      readFence: one.readFence.bind(one),
    }
    Object.assign(one, replaced(over(one, own)))
  }

const dropped = { kind: 'dropped', nonces: [], values: 0 } as const
/** Only before the COMMIT is it nobody's business to see it. */
const hasCommitted = ({ database }: SimulatedWorld, { incarnation, xid }: WriteId): boolean =>
  incarnation === database.incarnation && database.stateOf(xid) === 'committed'

const told = new WeakSet<WriteId>()

const busy = { ...quiet, ids: 2, delaysMs: rough, writeThrough: 0 }
const slowLoads = { ...busy, weights: noTrouble }
const evicting = { ...busy, weights: { ...noTrouble, evict: 12 } }

export const fenceMutants: readonly Mutant[] = [
  {
    name: 'late put',
    what: 'a load is put into Redis whatever has happened since: no fence',
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: slowLoads,
    mutation: {
      redis: redis((one) => ({
        fillOne: (keys, _fence, _nonce, bytes, expireMs) => {
          one.set(keys.value, bytes, expireMs)
          return 'filled'
        },
      })),
    },
  },
  {
    name: 'nonce ignored',
    what: 'a fence that was lost between the miss and the fill is not missed',
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: evicting,
    mutation: {
      redis: redis((one) => ({
        fillOne: (keys, fence, nonce, ...rest) =>
          one.fillOne(
            keys,
            fence ?? one.openFence(keys.fence, 2_000, nonce),
            fence?.nonce ?? nonce,
            ...rest,
          ),
      })),
    },
  },
  {
    name: 'tombstone forgotten',
    what: 'an invalidation drops the value and leaves no tombstone',
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: slowLoads,
    mutation: { redis: redis(() => ({ addTombstone: () => {} })) },
  },
  {
    name: 'snapshot ignored',
    what: 'a fill does not have to see the tombstones',
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: slowLoads,
    mutation: {
      redis: redis((one) => ({
        fillOne: (keys, fence, ...rest) =>
          one.fillOne(keys, fence && { ...fence, tombstones: [] }, ...rest),
      })),
    },
  },
  {
    name: 'tombstone removed under the old nonce',
    what: 'a tombstone past its retention is removed, and the nonce stays',
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: { ...busy, weights: { ...noTrouble, 'step a clock': 40 } },
    mutation: {
      redis: redis((one) => ({
        // Sooner than they are, and within a load, so that it happens often enough.
        readFence: (key, retentionMs) => {
          const fence = one.readFence(key, Math.min(retentionMs, 150))
          return fence && { ...fence, expired: [] }
        },
        openFence: (key, retentionMs, nonce) => {
          const before = one.readFence(key, retentionMs)
          return one.openFence(key, retentionMs, before?.nonce ?? nonce)
        },
      })),
    },
  },
  {
    name: 'no first delete',
    what: 'Redis is told after the COMMIT only',
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: slowLoads,
    mutation: {
      parts: l2Of((l2, world) => ({
        invalidate: async (write, drops, options) =>
          hasCommitted(world, write) ? l2.invalidate(write, drops, options) : dropped,
      })),
    },
  },
  {
    name: 'no second delete',
    what: 'Redis is told before the COMMIT only, and the row is marked as told',
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: evicting,
    mutation: {
      parts: l2Of((l2, world) => ({
        invalidate: async (write, drops, options) =>
          hasCommitted(world, write) && !options?.quiet
            ? dropped
            : l2.invalidate(write, drops, options),
      })),
    },
  },
  {
    name: 'write-through instead of the second delete',
    what: 'the second delete is a bare fill with the new value',
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: { ...evicting, writeThrough: 3 },
    mutation: {
      parts: l2Of((l2, world, entity) => ({
        invalidate: async (write, drops, options) => {
          const through = drops.flatMap(({ through }) => through ?? [])
          if (!hasCommitted(world, write) || options?.quiet || through.length < drops.length) {
            return l2.invalidate(write, drops, options)
          }
          await l2.fill(entity, through)
          return dropped
        },
      })),
    },
  },
  {
    name: 'write-through past the nonce',
    what: 'the fill of a write-through ignores the nonce of the first delete',
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: { ...evicting, writeThrough: 3, ids: 2 },
    mutation: {
      redis: redis((one) => ({
        fillOne: (keys, fence, nonce, bytes, expireMs, over) =>
          one.fillOne(
            keys,
            fence,
            over.length === 0 && fence ? fence.nonce : nonce,
            bytes,
            expireMs,
            over,
          ),
      })),
    },
  },
  {
    name: 'write-through under a late snapshot',
    what: 'the written value is labelled with the snapshot at the end of the transaction',
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: { ...slowLoads, writeThrough: 3 },
    mutation: {
      parts: l2Of((l2, world) => ({
        invalidate: (write, drops, options) => {
          const late = (fill: Fill): Fill => ({
            ...fill,
            snapshot: { ...world.database.snapshot(), own: write.xid },
          })
          const labelled = drops.map((drop) =>
            drop.through
              ? { ...drop, through: { ...late(drop.through), version: drop.through.version } }
              : drop,
          )
          return l2.invalidate(write, labelled, options)
        },
      })),
    },
  },
  {
    name: 'one schema version',
    what: "an invalidation drops the value of the writer's schema version only",
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: { ...slowLoads, hasVersions: true },
    mutation: {
      parts: l2Of((l2, _world, entity) => ({
        invalidate: (write, drops, options) =>
          l2.invalidate(
            write,
            drops.map((drop) => ({ ...drop, versions: [entity.version] })),
            options,
          ),
      })),
    },
  },
  {
    name: 'fenced without the second delete',
    what: 'a write returns as fenced though its second delete failed',
    breaks: ['I4'],
    where: { ...evicting, lostMarks: 1 },
    mutation: {
      arrived: (parts, place) =>
        l2Of((l2, world) => ({
          // Of every other write; the relay's come later.
          invalidate: async (write, drops, options) => {
            const fails = write.xid % 2 === 0 && !told.has(write) && hasCommitted(world, write)
            if (!fails) return l2.invalidate(write, drops, options)
            told.add(write)
            return dropped
          },
        }))(parts, place),
    },
  },
  {
    name: 'batch that stops at a refusal',
    what: 'what follows a refused fill in its batch is said to be filled',
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: { ...busy, ids: 3, weights: { ...noTrouble, 'read all': 90 } },
    mutation: {
      parts: l2Of((l2) => ({
        fill: async (entity, fills) => {
          const answers = await l2.fill(entity, fills)
          const refused = answers.findIndex((answer) => answer !== 'filled')
          return answers.map((answer, index) =>
            refused >= 0 && index > refused ? 'filled' : answer,
          )
        },
      })),
    },
  },
  {
    name: 'joined load',
    what: 'a strong read takes the value of a load that it joined, though its fill was refused',
    breaks: ['I4', 'I10'],
    where: slowLoads,
    mutation: {
      parts: l2Of((l2) => ({
        fill: async (entity, fills) => {
          await l2.fill(entity, fills)
          return fills.map(() => 'filled' as const)
        },
      })),
    },
  },
]
