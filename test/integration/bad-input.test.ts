/** What users and services do wrong: each gets a clear error or the documented fallback. */
import { expect, onTestFinished, test } from 'vitest'
import { lockstep } from '../../src/lockstep.ts'
import { entity } from '../../src/types.ts'
import {
  bump,
  gate,
  type Item,
  type ItemWorldCache,
  openWorld,
  required,
  until,
  type World,
} from '../support/world.ts'

type Load = (ids: number[], context: { signal: AbortSignal }) => Promise<readonly Item[]>

/** A cache whose loader is the test's. */
async function withLoader(world: World, load: unknown, timing = {}, options = {}) {
  const item = entity('item', { load: load as Load, id: (row: Item) => row.id, ...options })
  const cache = await lockstep({
    namespace: world.namespace,
    postgres: world.databaseUrl,
    redis: required('REDIS_URL'),
    entities: { item },
    timing,
  })
  onTestFinished(() => cache.close({ timeout: 0 }))
  return cache
}

test('a loader that throws is told with its error, and the next read loads again', async () => {
  const world = await openWorld()
  let calls = 0
  const cache = await withLoader(world, async (ids: number[]) => {
    if (++calls === 1) throw new Error('no luck')
    return ids.map((id) => ({ id, version: 7 }))
  })
  await expect(cache.item.get(1)).rejects.toMatchObject({
    code: 'LOADER_FAILED',
    cause: { message: 'no luck' },
  })
  expect(await cache.item.get(1)).toEqual({ id: 1, version: 7 })
})

test('a loader that throws before it returns a promise is told like any other', async () => {
  const world = await openWorld()
  const cache = await withLoader(world, () => {
    throw new Error('at once')
  })
  await expect(cache.item.get(1)).rejects.toMatchObject({ code: 'LOADER_FAILED' })
})

test('a loader that hangs ends at its deadline, with its signal aborted', async () => {
  const world = await openWorld()
  let signal: AbortSignal | undefined
  const hang = (_ids: number[], context: { signal: AbortSignal }): Promise<never> => {
    signal = context.signal
    return new Promise(() => {})
  }
  const cache = await withLoader(world, hang, { loadDeadline: '100ms' })
  await expect(cache.item.get(1)).rejects.toMatchObject({ code: 'SOURCE_TIMEOUT', retryable: true })
  expect(signal?.aborted).toBe(true)
})

test('more loaders that hang than may run at once do not stop later loads', async () => {
  const world = await openWorld()
  let hangs = true
  const cache = await withLoader(
    world,
    async (ids: number[]) => {
      if (hangs) await new Promise(() => {})
      return ids.map((id) => ({ id, version: 1 }))
    },
    { loadDeadline: '100ms' },
    { maxBatch: 1 },
  )
  const ids = Array.from({ length: 20 }, (_, index) => index + 1)
  await Promise.allSettled(ids.map((id) => cache.item.get(id)))
  hangs = false
  // The breaker has opened meanwhile, and lets somebody try again soon.
  await until('a later load is answered', async () => {
    const value = await cache.item.get(30).catch(() => undefined)
    return value?.version === 1
  })
})

const strangeRows: readonly [string, unknown][] = [
  ['undefined', undefined],
  ['null', null],
  ['an object', {}],
  [
    'two rows for one id',
    [
      { id: 1, version: 1 },
      { id: 1, version: 2 },
    ],
  ],
  ['a row without an id', [{ version: 1 }]],
  ['a row whose id is NaN', [{ id: Number.NaN, version: 1 }]],
]

for (const [what, rows] of strangeRows) {
  test(`a loader that returns ${what} is told so`, async () => {
    const cache = await withLoader(await openWorld(), async () => rows)
    await expect(cache.item.get(1)).rejects.toMatchObject({ code: 'LOADER_INVALID' })
  })
}

test('rows that nobody asked for are left out, and undefined ones don’t matter', async () => {
  const world = await openWorld()
  const cache = await withLoader(world, async () => [
    undefined,
    { id: 9, version: 9 },
    { id: 1, version: 1 },
  ])
  expect(await cache.item.get(1)).toEqual({ id: 1, version: 1 })
  expect(await cache.item.get(2)).toBeUndefined()
  expect(cache.item.peek(9)).toBeUndefined()
})

test('a value that the codec can’t take is told with its path, and spoils no other', async () => {
  const world = await openWorld()
  const cache = await withLoader(world, async (ids: number[]) =>
    ids.map((id) => (id === 1 ? { id, deep: { run: () => 1 } } : { id, version: id })),
  )
  const [bad, good] = await Promise.allSettled([cache.item.get(1), cache.item.get(2)])
  expect(bad).toMatchObject({
    reason: { code: 'VALUE_NOT_ENCODABLE', message: expect.stringContaining('$.deep.run') },
  })
  expect(good).toMatchObject({ value: { id: 2, version: 2 } })
})

test('a 5 MB row is answered and not cached', async () => {
  const world = await openWorld()
  const big = 'x'.repeat(5 * 1024 * 1024)
  const cache = await withLoader(world, async (ids: number[]) => ids.map((id) => ({ id, big })))
  expect((await cache.item.get(1)) as unknown).toMatchObject({ big })
  expect(cache.item.peek(1)).toBeUndefined()
  // The verdict lies there, and none of the row.
  expect(await world.redis.strlen(world.valueKey(1))).toBeLessThan(100)
})

const strangeIds: readonly unknown[] = [
  Number.NaN,
  Number.POSITIVE_INFINITY,
  {},
  [],
  null,
  undefined,
  true,
  Symbol('id'),
  '',
  'x'.repeat(10_000),
  'a\0b',
  '\ud800',
]

function nameOf(id: unknown): string {
  if (typeof id === 'string') return JSON.stringify(id.slice(0, 9))
  return Array.isArray(id) ? 'an array' : String(id)
}

for (const id of strangeIds) {
  test(`${nameOf(id)} as id is refused by every call`, async () => {
    const cache = await (await openWorld()).open()
    const refused = { code: 'ID_INVALID' }
    await expect(cache.item.get(id as number)).rejects.toMatchObject(refused)
    await expect(cache.item.getMany([1, id as number])).rejects.toMatchObject(refused)
    await expect(cache.item.getEntry(id as number)).rejects.toMatchObject(refused)
    await expect(cache.item.write(id as number, () => 1)).rejects.toMatchObject(refused)
    await expect(cache.item.invalidate(id as number)).rejects.toMatchObject(refused)
    expect(() => cache.item.peek(id as number)).toThrow(expect.objectContaining(refused))
    expect(() => cache.item.key(id as number)).toThrow(expect.objectContaining(refused))
  })
}

test('__proto__, constructor and toString are ids like others', async () => {
  const world = await openWorld()
  const cache = await withLoader(world, async (ids: string[]) =>
    ids.map((id) => ({ id, version: 1 })),
  )
  const ids = [
    '__proto__',
    'constructor',
    'toString',
    'a}b{c',
    "'; drop table x; --",
    '日本',
  ] as const
  for (const id of ids) {
    expect(await cache.item.get(id as never)).toEqual({ id, version: 1 })
    expect(await cache.item.get(id as never, { consistency: 'strong' })).toEqual({ id, version: 1 })
    await cache.item.invalidate(id as never)
  }
  const found = await cache.item.getMany(ids as never)
  expect([...found.keys()]).toEqual(ids)
})

test('42, "42" and 42n are one entry', async () => {
  const world = await openWorld()
  let loads = 0
  const cache = await withLoader(world, async (ids: unknown[]) => {
    loads++
    return ids.map((id) => ({ id: String(id), version: 1 }))
  })
  await cache.item.get(42)
  await cache.item.get('42' as never)
  await cache.item.get(42n as never)
  expect(loads).toBe(1)
  expect(cache.stats().item.l1Entries).toBe(1)
})

const foreignValues: readonly [string, (world: World, key: string) => Promise<unknown>][] = [
  ['a foreign string', (world, key) => world.redis.set(key, 'somebody else’s')],
  ['a list', (world, key) => world.redis.multi().del(key).rpush(key, 'one').exec()],
  ['an empty string', (world, key) => world.redis.set(key, '')],
  [
    'a damaged envelope',
    async (world, key) => {
      const bytes = (await world.redis.getBuffer(key)) ?? Buffer.alloc(0)
      bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1
      await world.redis.set(key, bytes)
    },
  ],
]

for (const [what, put] of foreignValues) {
  test(`${what} under our key is a miss that the next load mends`, async () => {
    const world = await openWorld()
    await (await world.open()).item.get(1)
    await put(world, world.valueKey(1))
    const cache = await world.open()
    expect((await cache.item.getEntry(1)).tier).toBe('source')
    await until('Redis has the value again', async () => {
      const entry = await (await world.open()).item.getEntry(1)
      return entry.tier === 'l2'
    })
  })
}

test('a foreign value under the fence’s key stops nobody', async () => {
  const world = await openWorld()
  await world.redis.set(world.fenceKey(1), 'not a fence')
  const cache = await world.open()
  expect((await cache.item.get(1))?.version).toBe(0)
  await world.write(cache, 1)
  expect((await cache.item.get(1, { consistency: 'strong' }))?.version).toBe(1)
})

test('a callback’s own error comes out as it is, and nothing is written', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const mine = new TypeError('mine')
  const write = cache.item.write(1, async (tx) => {
    await bump(tx, world.table, 1)
    throw mine
  })
  await expect(write).rejects.toBe(mine)
  expect(await world.truth(1)).toBe(0)
})

test('a write that returns no rows and has no id is told what is missing', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const write = cache.item.write(async (tx) => {
    await tx(world.table).insert({ id: 900 })
    return []
  })
  await expect(write).rejects.toMatchObject({ code: 'WRITE_KEYS_MISSING' })
  expect(await world.truth(900)).toBeUndefined()
})

test('a callback that hangs is rolled back at the deadline, and its connection is not kept', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const hung = cache.item.write(
    1,
    async (tx) => {
      await bump(tx, world.table, 1)
      return new Promise<never>(() => {})
    },
    { timeout: '100ms' },
  )
  await expect(hung).rejects.toMatchObject({ code: 'WRITE_TIMEOUT' })
  expect((await world.write(cache, 1)).version).toBe(1)
})

test('a callback that ends the transaction itself is told so', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const write = cache.item.write(1, async (tx) => {
    await tx.commit()
  })
  await expect(write).rejects.toMatchObject({ code: 'WRITE_ENDED_EARLY' })
  const raw = cache.item.write(1, (tx) => tx.raw('commit'))
  await expect(raw).rejects.toMatchObject({ code: 'WRITE_ENDED_EARLY' })
  expect((await world.write(cache, 1)).version).toBe(1)
})

test('an id that does not exist is cached as such, and an insert ends that at once', async () => {
  const world = await openWorld()
  const one = await world.open()
  const other = await world.open()
  expect(await one.item.get(777)).toBeUndefined()
  expect(await other.item.get(777)).toBeUndefined()
  expect(other.stats().item.loads, 'the other process heard of it from Redis').toBe(0)
  const { ticket } = await one.item.write(
    (tx) => tx<Item>(world.table).insert({ id: 777 }).returning('*') as PromiseLike<Item[]>,
  )
  expect(await one.item.get(777)).toEqual({ id: 777, version: 0 })
  expect(await other.item.get(777, { ticket })).toEqual({ id: 777, version: 0 })
})

test('one caller’s abort ends its own wait, not the load', async () => {
  const world = await openWorld()
  const held = gate()
  const cache = await world.open({ afterRead: () => held.pass() })
  const abort = new AbortController()
  const gone = cache.item.get(1, { signal: abort.signal })
  const stays = cache.item.get(1)
  await held.held
  abort.abort(new Error('gone'))
  await expect(gone).rejects.toThrow('gone')
  held.open()
  expect((await stays)?.version).toBe(0)
  expect(cache.stats().item.loads).toBe(1)
})

test('getMany tells what failed and what was found', async () => {
  const world = await openWorld()
  const cache = await withLoader(
    world,
    async ([id]: number[]) => {
      if (id === 2) throw new Error('not this one')
      return [{ id, version: 1 }]
    },
    {},
    { maxBatch: 1 },
  )
  const failure = await cache.item.getMany([1, 2, 3]).catch((error: unknown) => error)
  expect(failure).toMatchObject({ code: 'READ_PARTIAL' })
  const { values, failures } = failure as {
    values: Map<number, Item>
    failures: Map<number, unknown>
  }
  expect([...values.keys()]).toEqual([1, 3])
  expect([...failures.keys()]).toEqual([2])
})

test('no entity can have the name of a method of the cache', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const methods = Object.keys(cache).filter((name) => name !== 'item')
  expect(methods).toEqual(expect.arrayContaining(['write', 'on', 'metrics', 'stats', 'close']))
  const item = entity('item', { load: async () => [], id: (row: Item) => row.id })
  for (const name of [...methods, 'then']) {
    const options = { namespace: world.namespace, postgres: world.databaseUrl }
    const opened = lockstep({ ...options, entities: { [name]: item } })
    await expect(opened, name).rejects.toMatchObject({ code: 'OPTION_INVALID' })
  }
})

test.each([
  ['a read', (cache: ItemWorldCache) => cache.item.get(1, { consistncy: 'strong' } as never)],
  ['getMany', (cache: ItemWorldCache) => cache.item.getMany([1], { tickets: [] } as never)],
  ['a write', (cache: ItemWorldCache) => cache.item.write(1, () => 1, { retrys: 3 } as never)],
  ['an invalidation', (cache: ItemWorldCache) => cache.item.invalidate(1, { now: true } as never)],
])('a misspelt option of %s is told', async (_, call) => {
  const cache = await (await openWorld()).open()
  await expect(call(cache)).rejects.toMatchObject({
    code: 'OPTION_INVALID',
    message: expect.stringMatching(/consistncy|tickets|retrys|now/),
  })
})
