/** What every store and every mirror of flags promises, held on the real ones and on those in memory. */
import { Redis } from 'ioredis'
import { describe, expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/model/clock.ts'
import type { FlagMirror, FlagStore } from '../../src/model/flag-ports.ts'
import {
  type FlagChange,
  type FlagName,
  type FlagState,
  flagKey,
  mostFlags,
} from '../../src/model/flags.ts'
import { PostgresFlags } from '../../src/postgres/flags.ts'
import { PostgresInstances } from '../../src/postgres/instances.ts'
import { RedisFlagMirror } from '../../src/redis/flag-mirror.ts'
import { keySpace } from '../../src/redis/keys.ts'
import { MemoryFlagMirror, MemoryFlags } from '../../src/testing/memory-flags.ts'
import { connect } from '../support/database.ts'
import { ownNamespace } from '../support/namespace.ts'
import { required, until } from '../support/world.ts'
import { never, openPostgresPlace } from './postgres-place.ts'

interface StorePlace {
  readonly store: FlagStore
  /** An instance runs. */
  join(instance: string): Promise<void>
}

async function openPostgres(): Promise<StorePlace> {
  const { pool, namespace } = await openPostgresPlace()
  const instances = new PostgresInstances(pool, namespace)
  onTestFinished(async () => {
    const client = await connect(required('DATABASE_URL'))
    for (const table of ['flags', 'flag_changes', 'instances']) {
      await client.query(`delete from lockstep.${table} where namespace = $1`, [namespace])
    }
  })
  return {
    store: new PostgresFlags(pool, namespace),
    join: (instance) => instances.join(instance, never),
  }
}

const stores: readonly [string, () => Promise<StorePlace>][] = [
  ['PostgreSQL', openPostgres],
  ['memory', async () => ({ store: new MemoryFlags(systemClock), join: async () => {} })],
]

function change(flag: FlagName, how: Partial<FlagChange> = {}): FlagChange {
  const words = { reason: 'because', author: 'somebody', by: 'operator' } as const
  return { kind: 'set', flag, forMs: 60_000, ...words, ...how }
}

const keysOf = ({ flags }: FlagState): readonly string[] => flags.map(flagKey).sort()

describe.each(stores)('flags in %s', (_, open) => {
  test('what was set is read as it was set, with the time that is left', async () => {
    const { store } = await open()
    expect(await store.read(never)).toEqual({ revision: 0, flags: [] })
    const before = Date.now()
    const set = change('serve.stale', { entity: 'city', instance: 'one', by: 'slo' })
    const state = await store.change([change('l2.bypass'), set], never)
    expect(state.revision).toBeGreaterThan(0)
    expect(keysOf(state)).toEqual(['l2.bypass||', 'serve.stale|city|one'])
    const [first, second] = state.flags
    expect(first).toMatchObject({ flag: 'l2.bypass', reason: 'because', by: 'operator' })
    expect(first).not.toHaveProperty('entity')
    expect(second).toMatchObject({ author: 'somebody', by: 'slo', entity: 'city', instance: 'one' })
    for (const { setAtMs, untilMs, leftMs } of state.flags) {
      expect(Math.abs(setAtMs - before)).toBeLessThan(5_000)
      expect(Math.round((untilMs - setAtMs) / 100)).toBe(600)
      expect(leftMs).toBeGreaterThan(50_000)
      expect(leftMs).toBeLessThanOrEqual(60_000)
    }
    expect(keysOf(await store.read(never))).toEqual(keysOf(state))
  })

  test('set anew, the last one counts; both are in the history, the newest first', async () => {
    const { store } = await open()
    await store.change([change('fill.off', { reason: 'first', forMs: 3_600_000 })], never)
    const { flags, revision } = await store.change(
      [change('fill.off', { reason: 'second', author: 'another' })],
      never,
    )
    expect(flags).toMatchObject([{ reason: 'second', author: 'another', changeId: revision }])
    expect(flags[0]?.leftMs).toBeLessThanOrEqual(60_000)
    expect(await store.history(10, never)).toMatchObject([
      { kind: 'set', reason: 'second', author: 'another' },
      { kind: 'set', reason: 'first', author: 'somebody' },
    ])
    expect(await store.history(1, never)).toHaveLength(1)
  })

  test('two who set it at once: each is told what holds, and one of the two does', async () => {
    const { store } = await open()
    const reasons = ['one', 'other']
    await Promise.all(
      reasons.map((reason) => store.change([change('bloom.off', { reason })], never)),
    )
    const history = await store.history(10, never)
    expect(history.map(({ reason }) => reason).sort()).toEqual(reasons)
    const { flags } = await store.read(never)
    expect(flags.map(({ reason }) => reason)).toEqual([history[0]?.reason])
  })

  test('unset is for the same scope alone, and without anything set leaves no trace', async () => {
    const { store } = await open()
    await store.change([change('l1.bypass'), change('l1.bypass', { entity: 'city' })], never)
    const off = { kind: 'unset', reason: 'over' } as const
    expect(keysOf(await store.change([change('l1.bypass', off)], never))).toEqual([
      'l1.bypass|city|',
    ])
    const { revision } = await store.read(never)
    await store.change([change('l1.bypass', off), change('l2.bypass', off)], never)
    expect((await store.read(never)).revision).toBe(revision)
    const [last] = await store.history(1, never)
    expect(last).toMatchObject({ kind: 'unset', reason: 'over', untilMs: undefined })
  })

  test('it ends by itself, and can be set again', async () => {
    const { store } = await open()
    await store.change([change('refresh.off', { forMs: 30 }), change('fill.off')], never)
    await until('it has ended', async () => (await store.read(never)).flags.length === 1)
    const { flags } = await store.change([change('refresh.off')], never)
    expect(flags).toHaveLength(2)
  })

  test('too many are refused, all or nothing', async () => {
    const { store } = await open()
    const some = (count: number, name: string) =>
      Array.from({ length: count }, (_, n) => change('fill.off', { entity: `${name}${n}` }))
    await store.change(some(mostFlags - 1, 'a'), never)
    await expect(store.change(some(2, 'b'), never)).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringContaining(String(mostFlags)),
    })
    expect((await store.read(never)).flags).toHaveLength(mostFlags - 1)
  })

  test('an instance says what it applies, and says it again', async () => {
    const { store, join } = await open()
    await join('one')
    await join('other')
    await store.report({ instance: 'one', applied: ['fill.off||'] }, never)
    await store.report({ instance: 'other', applied: ['fill.off||', 'l1.bypass||'] }, never)
    await store.report({ instance: 'other', applied: [] }, never)
    expect(await store.reports(never)).toEqual([
      { instance: 'one', applied: ['fill.off||'] },
      { instance: 'other', applied: [] },
    ])
  })
})

test('a namespace that no cache has is told as such', async () => {
  const { pool } = await openPostgresPlace()
  const store = new PostgresFlags(pool, 'nobody has it')
  await expect(store.change([change('fill.off')], never)).rejects.toMatchObject({
    code: 'OPTION_INVALID',
    message: expect.stringContaining('nobody has it'),
  })
})

test('in SQL alone: set, looked at, unset', async () => {
  const { pool, namespace } = await openPostgresPlace()
  const store = new PostgresFlags(pool, namespace)
  const sql = (text: string) => pool.knex.raw(text, [namespace])
  await sql("select lockstep.set_flag(?, 'l2.bypass', '10 minutes', 'Redis is slow')")
  expect((await store.read(never)).flags).toMatchObject([
    { flag: 'l2.bypass', reason: 'Redis is slow', author: expect.any(String), by: 'operator' },
  ])
  // Of a lockstep to come: nothing to this one.
  await sql("select lockstep.set_flag(?, 'new.thing', '10 minutes', 'why')")
  expect((await store.read(never)).flags).toHaveLength(1)
  await expect(
    sql("select lockstep.set_flag(?, 'l2.bypass', '8 days', 'too long')"),
  ).rejects.toThrow('up to 7 days')
  const { rows } = await sql("select lockstep.unset_flag(?, 'l2.bypass', 'well again') as was")
  expect(rows).toEqual([{ was: true }])
  expect((await store.read(never)).flags).toEqual([])
})

interface MirrorPlace {
  readonly mirror: FlagMirror
  /** Another process' view of the same. */
  readonly other: FlagMirror
}

async function openRedis(): Promise<MirrorPlace & { readonly redis: Redis }> {
  const redis = new Redis(required('REDIS_URL'))
  const subscriber = redis.duplicate()
  const keys = keySpace(ownNamespace())
  await redis.del(...keys.flags)
  await subscriber.subscribe(keys.bus)
  onTestFinished(async () => {
    await redis.del(...keys.flags)
    redis.disconnect()
    subscriber.disconnect()
  })
  const open = () => new RedisFlagMirror({ redis, subscriber, keys, clock: systemClock })
  return { mirror: open(), other: open(), redis }
}

const mirrors: readonly [string, () => Promise<MirrorPlace>][] = [
  ['Redis', openRedis],
  [
    'memory',
    async () => {
      const mirror = new MemoryFlagMirror(systemClock)
      return { mirror, other: mirror }
    },
  ],
]

async function stateOf(...changes: readonly FlagChange[]): Promise<FlagState> {
  return new MemoryFlags(systemClock).change(changes)
}

describe.each(mirrors)('the mirror in %s', (_, open) => {
  test('what is kept is read by others; without anything there is nothing', async () => {
    const { mirror, other } = await open()
    expect(await other.read(never)).toBeUndefined()
    const state = await stateOf(change('l2.bypass'), change('fill.off', { entity: 'city' }))
    await mirror.keep(state, never)
    const read = await other.read(never)
    expect(read?.revision).toBe(state.revision)
    expect(read?.flags).toMatchObject(state.flags.map(({ leftMs: _left, ...flag }) => flag))
    expect(read?.flags[0]?.leftMs).toBeGreaterThan(50_000)
  })

  test('what is older does not take the place of what is newer', async () => {
    const { mirror, other } = await open()
    const older = await stateOf(change('l2.bypass'))
    const newer = await stateOf(change('fill.off'), change('bloom.off'))
    await mirror.keep(newer, never)
    await mirror.keep(older, never)
    expect((await other.read(never))?.revision).toBe(newer.revision)
  })

  test('changes without PostgreSQL count on top, in their order, until it is asked again', async () => {
    const { mirror, other } = await open()
    const kept = await stateOf(change('l2.bypass'), change('fill.off'))
    await mirror.keep(kept, never)
    await mirror.change([change('serve.stale'), change('fill.off', { kind: 'unset' })], never)
    await other.change([change('serve.stale', { reason: 'once more' })], never)
    const read = (await other.read(never)) as FlagState
    expect(keysOf(read)).toEqual(['l2.bypass||', 'serve.stale||'])
    expect(read.flags.find(({ flag }) => flag === 'serve.stale')).toMatchObject({
      reason: 'once more',
    })
    await mirror.keep(kept, never)
    expect(keysOf((await other.read(never)) as FlagState)).toEqual(['fill.off||', 'l2.bypass||'])
  })

  test('changes alone, with nothing kept; what has ended is gone', async () => {
    const { mirror, other } = await open()
    await mirror.change([change('serve.stale'), change('fill.off', { forMs: 20 })], never)
    await until('it has ended', async () => (await other.read(never))?.flags.length === 1)
  })

  test('too many changes are refused', async () => {
    const { mirror } = await open()
    const one = change('fill.off', { reason: 'x'.repeat(500) })
    const fill = async () => {
      for (let n = 0; n < 200; n++) await mirror.change([one], never)
    }
    await expect(fill()).rejects.toMatchObject({ code: 'OPTION_INVALID' })
    expect((await mirror.read(never))?.flags).toHaveLength(1)
  })

  test('who listens is told to look', async () => {
    const { mirror, other } = await open()
    let looks = 0
    other.listen(() => {
      looks++
    })
    await mirror.announce(never)
    await until('it is told', () => looks === 1)
  })
})

test('what nobody here has written is nothing', async () => {
  const { mirror, redis } = await openRedis()
  const [kept, changes] = keySpace(ownNamespace()).flags
  for (const bytes of [
    '',
    'x',
    '7',
    '7\n',
    '7\n{',
    '7\n{"flag":"l2.bypass"}',
    `${'9'.repeat(30)}\n[]`,
  ]) {
    await redis.set(kept, bytes)
    expect((await mirror.read(never))?.flags ?? [], bytes).toEqual([])
  }
  await redis.set(kept, '7\n[{"flag":"l2.bypass"},null,3,{"flag":"no.such"}]')
  await redis.set(changes, '\n{}\nnull\n{"flag":"l2.bypass","kind":"set"}')
  expect(await mirror.read(never)).toEqual({ revision: 7, flags: [] })
})
