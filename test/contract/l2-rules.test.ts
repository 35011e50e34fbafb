/**
 * The rules of the Lua scripts are those of `src/model/snapshot.ts`: what a fill is answered, and
 * what an invalidation drops, is decided there as `visible` and `covers` decide it here.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { passes } from '../../src/coordinator/flight.ts'
import { encodeEnvelope } from '../../src/model/envelope.ts'
import type { Tombstone } from '../../src/model/l2-port.ts'
import {
  covers,
  type Incarnation,
  type Snapshot,
  visible,
  type WriteId,
  type Xid,
} from '../../src/model/snapshot.ts'
import { keySpace } from '../../src/redis/keys.ts'
import { ownNamespace } from '../support/namespace.ts'
import { required } from '../support/world.ts'
import { openRedisProcess } from './redis-process.ts'
import { fillOf, former, present, thing } from './words.ts'

const third = '0123456789abcdef' as Incarnation
const incarnations = [present, former, third]
/** Few enough that xids of snapshots and of writes meet; around a small, a large and the largest. */
const bases = [3, 2 ** 32 - 12, Number.MAX_SAFE_INTEGER - 40]
const spread = 24

interface Case {
  readonly tombstones: readonly WriteId[]
  /** What lies there when the fill comes. */
  readonly value: Snapshot | undefined
  readonly snapshot: Snapshot
  readonly over: readonly Incarnation[]
}

const incarnation = fc.oneof(
  { weight: 4, arbitrary: fc.constant(present) },
  { weight: 1, arbitrary: fc.constantFrom(former, third) },
)

function xidFrom(base: number): fc.Arbitrary<Xid> {
  return fc.integer({ min: base, max: base + spread }).map((xid) => xid as Xid)
}

function snapshotFrom(base: number): fc.Arbitrary<Snapshot> {
  return fc
    .record({
      incarnation,
      xmin: xidFrom(base),
      length: fc.integer({ min: 0, max: 14 }),
      inProgress: fc.uniqueArray(fc.integer({ min: 0, max: 13 }), { maxLength: 13 }),
      own: fc.option(xidFrom(base), { nil: undefined }),
    })
    .map(({ incarnation, xmin, length, inProgress, own }) => {
      const xip = inProgress.filter((ahead) => ahead < length).sort((a, b) => a - b)
      return {
        incarnation,
        xmin,
        xmax: (xmin + length) as Xid,
        xip: xip.map((ahead) => (xmin + ahead) as Xid),
        own,
      }
    })
}

const fillCase: fc.Arbitrary<Case> = fc.constantFrom(...bases).chain((base) =>
  fc.record({
    tombstones: fc.oneof(
      {
        weight: 5,
        arbitrary: fc.array(fc.record({ incarnation, xid: xidFrom(base) }), { maxLength: 3 }),
      },
      // Of one write in each incarnation, more than a fence lists.
      {
        weight: 1,
        arbitrary: fc.shuffledSubarray(
          Array.from({ length: 40 }, (_, ahead) => ({
            incarnation: present,
            xid: (base + ahead) as Xid,
          })),
          { minLength: 33 },
        ),
      },
    ),
    value: fc.option(snapshotFrom(base), { nil: undefined }),
    snapshot: snapshotFrom(base),
    over: fc.subarray(incarnations),
  }),
)

/** DESIGN §4.6, in the words of the model. */
function answerTo({ value, snapshot, over }: Case, tombstones: readonly Tombstone[]): string {
  const keptOut = (tombstone: Tombstone): boolean =>
    tombstone.incarnation === snapshot.incarnation
      ? !passes(tombstone, snapshot)
      : !over.includes(tombstone.incarnation)
  if (tombstones.some(keptOut)) return 'tombstone'
  if (value?.incarnation === snapshot.incarnation && !covers(snapshot, value)) return 'not-covered'
  return 'filled'
}

test('a fill is answered as the model answers it, and never against a write', async () => {
  const { l2, redis, keys } = await open()
  const asked = { incarnation: present, leaseMs: 9_000, insist: true }
  let round = 0
  const answered = new Set<string>()
  await fc.assert(
    fc.asyncProperty(fc.array(fillCase, { minLength: 60, maxLength: 60 }), async (cases) => {
      round++
      const ids = cases.map((_, index) => `${round}.${index}`)
      await tell(l2, cases, ids)
      const grants = await l2.acquire(thing(), ids, asked)
      await plant(redis, cases, (index) => keys.value('thing', 1, ids[index] as string))
      const leases = grants.map((grant) => {
        if (grant.kind !== 'lease') throw new Error(`a lease was expected, not ${grant.kind}`)
        return grant
      })
      const answers = await l2.fill(
        thing(),
        leases.map((lease, index) => {
          const { snapshot, over } = cases[index] as Case
          return fillOf(lease, snapshot, { over })
        }),
      )
      for (const [index, one] of cases.entries()) {
        const tombstones = leases[index]?.tombstones ?? []
        expect(answers[index], JSON.stringify(one)).toBe(answerTo(one, tombstones))
        answered.add(answers[index] as string)
        // Whatever the fence made of them: what was accepted sees every write that was told.
        if (answers[index] !== 'filled') continue
        for (const write of one.tombstones) {
          const isSeen = visible(write, one.snapshot) || one.over.includes(write.incarnation)
          expect(isSeen, JSON.stringify(one)).toBe(true)
        }
      }
    }),
    { numRuns: 12 },
  )
  expect([...answered].sort()).toEqual(['filled', 'not-covered', 'tombstone'])
})

const dropCase = fc.constantFrom(...bases).chain((base) =>
  fc.record({
    write: fc.record({ incarnation, xid: xidFrom(base) }),
    values: fc.array(fc.option(snapshotFrom(base), { nil: undefined }), {
      minLength: 3,
      maxLength: 3,
    }),
  }),
)

test('an invalidation drops what does not see it as the model sees it, and fences unless something does', async () => {
  const { l2, redis, keys } = await open()
  let round = 0
  await fc.assert(
    fc.asyncProperty(fc.array(dropCase, { minLength: 60, maxLength: 60 }), async (cases) => {
      round++
      await Promise.all(
        cases.map(async ({ write, values }, index) => {
          const id = `${round}.${index}`
          await plant(
            redis,
            values.map((value) => ({ value })),
            (version) => keys.value('thing', version + 1, id),
          )
          await l2.invalidate(write, [{ entity: 'thing', id, versions: [1, 2, 3] }])
          const kept = values.map((value) => value !== undefined && visible(write, value))
          const valueKeys = [1, 2, 3].map((version) => keys.value('thing', version, id))
          const left = await Promise.all(valueKeys.map((key) => redis.exists(key)))
          expect(left.map(Boolean), JSON.stringify({ write, values })).toEqual(kept)
          const isFenced = (await redis.exists(keys.fence('thing', id))) === 1
          expect(isFenced, JSON.stringify({ write, values })).toBe(!kept.includes(true))
        }),
      )
    }),
    { numRuns: 6 },
  )
})

async function open() {
  const namespace = ownNamespace()
  const { l2, redis } = await openRedisProcess({ url: required('REDIS_URL'), namespace })
  return { l2, redis, keys: keySpace(namespace) }
}

type Place = Awaited<ReturnType<typeof open>>

/** Tells each id its writes; a write is told to all its ids in one call. */
async function tell(
  l2: Place['l2'],
  cases: readonly Case[],
  ids: readonly string[],
): Promise<void> {
  const most = Math.max(...cases.map(({ tombstones }) => tombstones.length))
  for (let turn = 0; turn < most; turn++) {
    const byWrite = new Map<string, { write: WriteId; ids: string[] }>()
    for (const [index, { tombstones }] of cases.entries()) {
      const write = tombstones[turn]
      if (!write) continue
      const told = byWrite.get(JSON.stringify(write)) ?? { write, ids: [] }
      told.ids.push(ids[index] as string)
      byWrite.set(JSON.stringify(write), told)
    }
    await Promise.all(
      [...byWrite.values()].map(({ write, ids }) =>
        l2.invalidate(
          write,
          ids.map((id) => ({ entity: 'thing', id, versions: [1] })),
        ),
      ),
    )
  }
}

/** Puts values there past all rules. */
async function plant(
  redis: Place['redis'],
  cases: readonly { readonly value: Snapshot | undefined }[],
  keyOf: (index: number) => string,
): Promise<void> {
  const softExpiryMs = Date.now() + 60_000
  await Promise.all(
    cases.map(async ({ value }, index) => {
      if (!value) return
      const bytes = encodeEnvelope({
        snapshot: value,
        createdAtMs: Date.now(),
        softExpiryMs,
        payload: Buffer.from('planted'),
      })
      await redis.set(keyOf(index), bytes, 'PX', 60_000)
    }),
  )
}
