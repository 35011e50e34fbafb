/** Each flag on a running cache: what it does while it is set, and that it is gone afterwards. */
import { expect, test } from 'vitest'
import type { CacheEvents, LockstepOptions } from '../../src/index.ts'
import { type Cli, cli } from '../support/cli.ts'
import { openTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import {
  bump,
  gate,
  type Item,
  type ItemWorldCache,
  openWorld,
  required,
  until,
  untilProven,
  type World,
} from '../support/world.ts'

const long = { for: '10m', reason: 'a test' } as const
const id = 1
/** A build waits for every transaction of the server that was open when it began. */
const builtMs = { timeout: 180_000 }

type Options = Partial<LockstepOptions<never>>

function run(args: readonly string[], environment: NodeJS.ProcessEnv = {}): Cli['ended'] {
  return cli(['flags', ...args], environment).ended
}

/** A change by plain SQL that nobody is told of: whoever answers with it has asked the source. */
async function changeUnnoticed(world: World): Promise<void> {
  await world.sql(`update ${world.table} set version = version + 1 where id = ${id}`)
}

async function tierOf(cache: ItemWorldCache, key = id): Promise<string> {
  return (await cache.item.getEntry(key)).tier
}

function eventsOf(cache: ItemWorldCache): CacheEvents['flag'][] {
  const events: CacheEvents['flag'][] = []
  cache.on('flag', (event) => events.push(event))
  return events
}

/** Set, and known to this cache. */
async function set(
  cache: ItemWorldCache,
  ...[flag, options]: Parameters<ItemWorldCache['flags']['set']>
) {
  await cache.flags.set(flag, options)
  await until('it is applied', () => cache.flags.isSet(flag, 'item'))
}

async function unset(cache: ItemWorldCache, flag: CacheEvents['flag']['flag']) {
  await cache.flags.unset(flag)
  await until('it is gone', () => !cache.flags.isSet(flag, 'item'))
}

/** What was hung is opened anew. */
async function heal(proxy: TcpProxy): Promise<void> {
  await proxy.pass()
  proxy.cut()
}

test('l1.bypass: L1 is not served, and goes on being told and filled', async () => {
  const world = await openWorld()
  const cache = await world.open()
  await untilProven(cache)
  await cache.item.get(id)
  expect(await tierOf(cache)).toBe('l1')
  await set(cache, 'l1.bypass', long)
  expect(cache.item.peek(id)).toBeUndefined()
  expect(await tierOf(cache)).toBe('l2')
  const { version } = await world.write(cache, id)
  expect((await cache.item.get(id))?.version).toBe(version)
  await unset(cache, 'l1.bypass')
  expect(cache.item.peek(id)).toEqual({ id, version })
})

test('l2.bypass: Redis is neither read nor filled; what was written meanwhile is not old afterwards', async () => {
  const world = await openWorld()
  const entity = { writeThrough: true }
  const [cache, other] = [await world.open({ entity }), await world.open({ entity })]
  await untilProven(cache)
  await cache.item.get(id)
  await set(cache, 'l2.bypass', long)
  await until('the other applies it', () => other.flags.isSet('l2.bypass'))
  await until('it lies in Redis', async () => (await world.redis.exists(world.valueKey(id))) === 1)
  expect(await tierOf(other)).toBe('source')
  // The value there is dropped, and the new one does not take its place.
  const { version, fenced } = await world.write(cache, id)
  expect(fenced).toBe(true)
  expect(await world.redis.exists(world.valueKey(id))).toBe(0)
  expect((await other.item.get(id, { consistency: 'strong' }))?.version).toBe(version)
  await cache.item.get(2)
  expect(await world.redis.exists(world.valueKey(2))).toBe(0)
  await unset(cache, 'l2.bypass')
  await until('the other too', () => !other.flags.isSet('l2.bypass'))
  for (const one of [cache, other]) {
    const { value } = await one.item.getEntry(id, { consistency: 'strong' })
    expect(value?.version).toBe(version)
  }
  await until('it is filled again', async () => {
    await cache.item.get(id, { consistency: 'strong' })
    return (await world.redis.exists(world.valueKey(id))) === 1
  })
})

test('source.readonly: writes and invalidations are refused before they begin; reads go on', async () => {
  const world = await openWorld()
  const cache = await world.open()
  await set(cache, 'source.readonly', long)
  let calls = 0
  const refused = { code: 'SOURCE_READONLY', retryable: true }
  const count = (): readonly Item[] => {
    calls++
    return []
  }
  const key = cache.item.key(id)
  for (const write of [
    () => cache.item.write(id, count),
    () => cache.item.write(count),
    () => cache.write([key], count),
    () => cache.item.invalidate(id),
    () => cache.invalidate([key]),
  ]) {
    await expect(write()).rejects.toMatchObject(refused)
  }
  expect(calls).toBe(0)
  expect((await cache.item.get(id))?.version).toBe(0)
  await unset(cache, 'source.readonly')
  expect((await world.write(cache, id)).version).toBe(1)
})

test('writes.reject: writes are refused, joined ones too; invalidations go on', async () => {
  const world = await openWorld()
  const cache = await world.open()
  await cache.item.get(id)
  await set(cache, 'writes.reject', { ...long, entity: 'item' })
  const write = cache.item.write(id, (tx) => bump(tx, world.table, id))
  await expect(write).rejects.toMatchObject({ code: 'WRITES_REJECTED', retryable: true })
  await changeUnnoticed(world)
  await cache.item.invalidate(id)
  expect((await cache.item.get(id))?.version).toBe(1)
  await cache.flags.unset('writes.reject', { entity: 'item' })
  await until('it is gone', () => !cache.flags.isSet('writes.reject', 'item'))
  expect((await world.write(cache, id)).version).toBe(2)
})

const shortLived = { ttl: '200ms', grace: '200ms', staleGrace: '1h' } as const

test('serve.stale: past its ttl and its grace a value is served and not loaded; never an invalidated one', async () => {
  const world = await openWorld()
  let loads = 0
  const afterRead = async () => void loads++
  const cache = await world.open({ entity: shortLived, afterRead })
  await untilProven(cache)
  await set(cache, 'serve.stale', long)
  await cache.item.get(id)
  const other = await world.open({ entity: shortLived })
  await changeUnnoticed(world)
  await until('its grace is over', async () => (await cache.item.getEntry(id)).ageMs > 500)
  loads = 0
  // The first from L1, the other from Redis, which keeps longer what is filled while the flag is set.
  for (const [one, tier] of [
    [cache, 'l1'],
    [other, 'l2'],
  ] as const) {
    expect(await one.item.getEntry(id)).toMatchObject({
      tier,
      state: 'stale',
      value: { version: 0 },
    })
  }
  expect((await cache.item.get(id))?.version).toBe(0)
  expect(loads).toBe(0)
  expect((await cache.item.get(id, { consistency: 'strong' }))?.version).toBe(1)
  const { version } = await world.write(cache, id)
  expect((await cache.item.get(id))?.version).toBe(version)
  expect((await other.item.get(id, { consistency: 'strong' }))?.version).toBe(version)
  await unset(cache, 'serve.stale')
  await changeUnnoticed(world)
  await until('it is loaded again', async () => (await cache.item.get(id))?.version === version + 1)
})

test('refresh.off: within its grace a value is served and not loaded anew behind', async () => {
  const world = await openWorld()
  let loads = 0
  const afterRead = async () => void loads++
  const cache = await world.open({ entity: { ttl: '100ms', grace: '1h' }, afterRead })
  await untilProven(cache)
  await cache.item.get(id)
  await set(cache, 'refresh.off', long)
  await until('it is stale', async () => (await cache.item.getEntry(id)).state === 'stale')
  loads = 0
  await changeUnnoticed(world)
  for (let n = 0; n < 20; n++) expect((await cache.item.get(id))?.version).toBe(0)
  expect(loads).toBe(0)
  await unset(cache, 'refresh.off')
  await until('it is loaded anew', async () => (await cache.item.get(id))?.version === 1)
})

test('fill.off: Redis is read and told, and gets nothing new', async () => {
  const world = await openWorld()
  const entity = { writeThrough: true }
  const [cache, other] = [await world.open({ entity }), await world.open({ entity })]
  await cache.item.get(id)
  await until('it lies in Redis', async () => (await world.redis.exists(world.valueKey(id))) === 1)
  await set(cache, 'fill.off', long)
  await until('the other applies it', () => other.flags.isSet('fill.off'))
  expect(await tierOf(other)).toBe('l2')
  // Nobody waits for a lease of somebody who won't fill.
  const held = gate()
  const slow = await world.open({ entity, afterRead: held.pass })
  const first = slow.item.get(3)
  await held.held
  expect((await other.item.get(3))?.version).toBe(0)
  held.open()
  await first
  await world.write(cache, id)
  for (const key of [id, 3]) expect(await world.redis.exists(world.valueKey(key))).toBe(0)
  await unset(cache, 'fill.off')
  await cache.item.get(4)
  await until('it is filled', async () => (await world.redis.exists(world.valueKey(4))) === 1)
})

test('misses.shed: what no tier has is not loaded, but for who brings a ticket', async () => {
  const world = await openWorld()
  const cache = await world.open()
  await untilProven(cache)
  await cache.item.get(id)
  await set(cache, 'misses.shed', long)
  expect((await cache.item.get(id))?.version).toBe(0)
  await expect(cache.item.get(2)).rejects.toMatchObject({ code: 'SOURCE_BUSY', retryable: true })
  const partial = await cache.item.getMany([id, 2]).catch((error: unknown) => error)
  expect(partial).toMatchObject({
    code: 'READ_PARTIAL',
    values: new Map([[id, { id, version: 0 }]]),
  })
  const { ticket, version } = await world.write(cache, id)
  expect((await cache.item.get(id, { ticket }))?.version).toBe(version)
  await unset(cache, 'misses.shed')
  expect((await cache.item.get(2))?.version).toBe(0)
})

test('bloom.off: no id is refused, for the one entity and no other', builtMs, async () => {
  const world = await openWorld()
  const cache = await world.open({
    entity: { bloom: { table: world.table, column: 'id' } as never },
  })
  let absent = 1_000_000
  /** An id that does not exist is refused; else it is loaded. */
  const isRefused = async (): Promise<boolean> => (await tierOf(cache, absent++)) === 'l2'
  await until('an absent id is refused', isRefused, builtMs.timeout)
  await set(cache, 'bloom.off', { ...long, entity: 'item' })
  expect(cache.flags.isSet('bloom.off')).toBe(false)
  expect(cache.flags.isSet('bloom.off', 'other')).toBe(false)
  for (let nth = 0; nth < 20; nth++) expect(await isRefused()).toBe(false)
  await cache.flags.unset('bloom.off', { entity: 'item' })
  await until('it is gone', () => !cache.flags.isSet('bloom.off', 'item'))
  await until('an absent id is refused again', isRefused)
})

test('a flag ends by itself; who set it, anew, and its end are told', async () => {
  const cache = await (await openWorld()).open()
  const events = eventsOf(cache)
  await set(cache, 'fill.off', { for: '1h', reason: 'first', author: 'one' })
  await cache.flags.set('fill.off', { for: '300ms', reason: 'second', author: 'other' })
  await until('it has ended', () => !cache.flags.isSet('fill.off'))
  expect(events).toMatchObject([
    { flag: 'fill.off', state: 'set', reason: 'first', author: 'one', by: 'operator', scope: {} },
    { flag: 'fill.off', state: 'set', reason: 'second', author: 'other' },
    { flag: 'fill.off', state: 'expired', reason: 'second', author: 'other' },
  ])
  expect(await cache.flags.list()).toEqual([])
})

test('two operators at once: one wins on all instances, both are in the history', async () => {
  const world = await openWorld()
  const [one, other] = [await world.open(), await world.open()]
  await Promise.all([
    one.flags.set('refresh.off', { for: '1h', reason: 'the one', author: 'anna' }),
    other.flags.set('refresh.off', { for: '2h', reason: 'the other', author: 'ben' }),
  ])
  await until('both report it', async () => {
    const [flag] = await one.flags.list()
    return flag?.appliedBy.length === 2
  })
  const history = await one.flags.history()
  expect(history.map(({ author }) => author).sort()).toEqual(['anna', 'ben'])
  const instances = [one, other].map((cache) => cache.health().instance)
  for (const cache of [one, other]) {
    const [flag, ...more] = await cache.flags.list()
    expect(more).toEqual([])
    expect(flag).toMatchObject({ author: history[0]?.author, from: 'postgres' })
    expect(flag?.appliedBy.toSorted()).toEqual(instances.toSorted())
    await until('it holds here', () => cache.health().flags[0]?.author === history[0]?.author)
  }
})

test('for one instance: the others do not apply it', async () => {
  const world = await openWorld()
  const [one, other] = [await world.open(), await world.open()]
  const { instance } = other.health()
  await one.flags.set('l1.bypass', { ...long, instance })
  await until('the other applies it', () => other.flags.isSet('l1.bypass'))
  expect(one.flags.isSet('l1.bypass')).toBe(false)
  await until('it says so', async () => (await one.flags.list())[0]?.appliedBy[0] === instance)
})

test('an instance that is cut off from both goes on with what it knows, and catches up', async () => {
  const world = await openWorld()
  const database = await openTcpProxy(required('DATABASE_URL'))
  const redis = await openTcpProxy(required('REDIS_URL'))
  const cut = await world.open({
    redisUrl: redis.through(required('REDIS_URL')),
    options: { postgres: database.through(required('DATABASE_URL')) } as Options,
  })
  const cache = await world.open()
  await set(cache, 'refresh.off', long)
  await until('it is told', () => cut.flags.isSet('refresh.off'))
  database.hang()
  redis.hang()
  await cache.flags.set('fill.off', long)
  await cache.flags.unset('refresh.off')
  expect(cut.flags.isSet('refresh.off')).toBe(true)
  // PostgreSQL stays away: the mirror tells.
  await heal(redis)
  await until(
    'it catches up',
    () => cut.flags.isSet('fill.off') && !cut.flags.isSet('refresh.off'),
    30_000,
  )
  expect(cut.health().flags).toMatchObject([{ flag: 'fill.off', from: 'redis' }])
  await heal(database)
  await until('it asks PostgreSQL again', () => cut.health().flags[0]?.from === 'postgres', 30_000)
}, 90_000)

test('without an answer of PostgreSQL it is set in Redis, until PostgreSQL is asked again', async () => {
  const world = await openWorld()
  const proxies = [await openTcpProxy(required('DATABASE_URL'))]
  const [database] = proxies as [(typeof proxies)[0]]
  const options = { postgres: database.through(required('DATABASE_URL')) } as Options
  const [one, other] = [await world.open({ options }), await world.open({ options })]
  database.hang()
  expect(await one.flags.set('serve.stale', long)).toEqual({ keptIn: 'redis' })
  await until(
    'both apply it',
    () => [one, other].every((cache) => cache.flags.isSet('serve.stale')),
    30_000,
  )
  expect(await one.flags.list()).toMatchObject([
    { flag: 'serve.stale', from: 'redis', appliedBy: [] },
  ])
  await heal(database)
  await until(
    'it is gone',
    () => [one, other].every((cache) => !cache.flags.isSet('serve.stale')),
    30_000,
  )
}, 90_000)

test('an override is applied from the first read on, and shown as such', async () => {
  const world = await openWorld()
  const options = { flags: { override: ['l2.bypass'] } } as Options
  const [cache, other] = [await world.open({ options }), await world.open()]
  expect(cache.flags.isSet('l2.bypass', 'item')).toBe(true)
  await cache.item.get(id)
  expect(await world.redis.exists(world.valueKey(id))).toBe(0)
  await until('it is reported', async () => (await other.flags.list()).length === 1)
  const { instance } = cache.health()
  expect(await other.flags.list()).toMatchObject([
    { flag: 'l2.bypass', by: 'environment', from: 'environment', instance, appliedBy: [instance] },
  ])
  expect(cache.health().status).toBe('degraded')
})

test('the ladder: each step has its flags, and step 0 none', async () => {
  const cache = await (await openWorld()).open()
  const setNow = async () => (await cache.flags.list()).map(({ flag }) => flag).sort()
  await cache.flags.ladder(4, long)
  expect(await setNow()).toEqual(['fill.off', 'l2.bypass', 'refresh.off', 'serve.stale'])
  await cache.flags.set('bloom.off', long)
  await cache.flags.ladder(2, long)
  expect(await setNow()).toEqual(['bloom.off', 'refresh.off', 'serve.stale'])
  await cache.flags.ladder(0, long)
  expect(await setNow()).toEqual(['bloom.off'])
})

test('the metric says what is applied', async () => {
  const cache = await (await openWorld()).open()
  await cache.flags.set('fill.off', { ...long, entity: 'item' })
  await set(cache, 'refresh.off', long)
  await until('both', () => cache.flags.isSet('fill.off', 'item'))
  const text = await cache.metrics().metrics()
  expect(text).toMatch(/^lockstep_flag_active\{.*,flag="refresh.off",entity="\*"\} 1$/m)
  expect(text).toMatch(/^lockstep_flag_active\{.*,flag="fill.off",entity="\*"\} 0$/m)
  expect(text).toMatch(/^lockstep_flag_active\{.*,flag="fill.off",entity="item"\} 1$/m)
})

test('a rule sets a flag by itself where Redis fails, and unsets it when all is well', async () => {
  const world = await openWorld()
  const proxy = await openTcpProxy(required('REDIS_URL'))
  const rule = { ratio: 'l2.failures', above: 0.5, below: 0.1, during: '1s', for: '10s', least: 1 }
  const cache = await world.open({
    redisUrl: proxy.through(required('REDIS_URL')),
    timing: { redisDeadline: '100ms' },
    options: { slo: [{ ...rule, flag: 'refresh.off' }] } as Options,
  })
  const events = eventsOf(cache)
  proxy.hang()
  const read = async () => {
    await cache.item.get(1 + Math.floor(Math.random() * 50), { consistency: 'strong' })
  }
  await until(
    'it is set',
    async () => {
      await read()
      return cache.flags.isSet('refresh.off')
    },
    30_000,
  )
  const { instance } = cache.health()
  await until('it is kept', async () => (await cache.flags.list())[0]?.by === 'slo')
  expect((await cache.flags.list())[0]).toMatchObject({
    flag: 'refresh.off',
    instance,
    reason: 'l2.failures above 0.5 for 1 s',
    author: 'rule l2.failures',
  })
  await heal(proxy)
  await until(
    'it is unset',
    async () => {
      await read()
      return !cache.flags.isSet('refresh.off')
    },
    30_000,
  )
  expect(events.map(({ state, by }) => [state, by])).toEqual([
    ['set', 'slo'],
    ['unset', 'slo'],
  ])
}, 90_000)

test('what will not do is told, and nothing is set', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const wrong: readonly [unknown, unknown, RegExp][] = [
    ['l3.bypass', long, /"flag".*l1\.bypass/],
    ['l1.bypass', {}, /"for"/],
    ['l1.bypass', { for: '8d', reason: 'x' }, /"for".*7 days/],
    ['l1.bypass', { for: 0, reason: 'x' }, /"for"/],
    ['l1.bypass', { for: 'soon', reason: 'x' }, /"for"/],
    ['l1.bypass', { for: '1m' }, /"reason"/],
    ['l1.bypass', { for: '1m', reason: '' }, /"reason"/],
    ['l1.bypass', { for: '1m', reason: 'x\0' }, /"reason"/],
    ['l1.bypass', { ...long, author: 7 }, /"author"/],
    ['l1.bypass', { ...long, entity: 'country' }, /"entity".*item/],
    ['l1.bypass', { ...long, instance: '' }, /"instance"/],
    ['l1.bypass', { ...long, until: 'noon' }, /"until"/],
    ['l1.bypass', undefined, /"options"/],
  ]
  for (const [flag, options, message] of wrong) {
    const failed = cache.flags.set(flag as never, options as never)
    await expect(failed, String(message)).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringMatching(message),
    })
  }
  for (const step of [-1, 6, 1.5, '2']) {
    await expect(cache.flags.ladder(step as never, long)).rejects.toThrow('"step"')
  }
  expect(() => cache.flags.isSet('nothing' as never)).toThrow('"flag"')
  await expect(cache.flags.history({ limit: 0 })).rejects.toThrow('"limit"')
  expect(await cache.flags.list()).toEqual([])
  for (const options of [
    { flags: { override: ['l3.bypass'] } },
    { flags: { overide: [] } },
    { flags: [] },
    { slo: [{ ratio: 'l2.failures' }] },
    { slo: {} },
  ]) {
    await expect(world.open({ options: options as never })).rejects.toMatchObject({
      code: 'OPTION_INVALID',
    })
  }
  await cache.close()
  await expect(cache.flags.set('l1.bypass', long)).rejects.toMatchObject({ code: 'CLOSED' })
})

test('the command line sets, lists and unsets, and instances hear of it at once', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const given = ['--for', '10m', '--reason', 'Redis is slow', '--author', 'anna', '--json']
  const answer = await run(['set', 'l2.bypass', '--entity', 'item', ...given])
  expect(answer).toMatchObject({ code: 0 })
  expect(JSON.parse(answer.stdout)).toEqual({ set: ['l2.bypass'], unset: [], keptIn: 'postgres' })
  await until('it is applied', () => cache.flags.isSet('l2.bypass', 'item'))
  const { instance } = cache.health()
  await until('it is reported', async () => (await cache.flags.list())[0]?.appliedBy.length === 1)
  const listed = await run(['list', '--json'])
  expect(JSON.parse(listed.stdout).flags).toMatchObject([
    {
      ...{ flag: 'l2.bypass', entity: 'item', instance: null, by: 'operator', from: 'postgres' },
      ...{ reason: 'Redis is slow', author: 'anna', appliedBy: [instance] },
    },
  ])
  expect((await run(['list'])).stdout).toContain(`"Redis is slow"  applied by ${instance}`)
  await run(['ladder', '1', ...given])
  await until('the step is applied', () => cache.flags.isSet('refresh.off'))
  await run(['ladder', '0', ...given])
  expect((await run(['unset', 'l2.bypass', '--entity', 'item'])).stdout).toBe('unset l2.bypass\n')
  expect((await run(['list'])).stdout).toBe('no flags are set\n')
  const history = JSON.parse((await run(['list', '--history', '--json'])).stdout).history
  expect(history.map(({ kind, flag }: Record<string, string>) => `${kind} ${flag}`)).toEqual([
    'unset l2.bypass',
    'unset refresh.off',
    'set refresh.off',
    'set l2.bypass',
  ])
}, 60_000)

test('used wrongly it ends with exit code 2, without an answer with 1', async () => {
  await openWorld()
  const gone = 'postgres://postgres@127.0.0.1:1/shop'
  const wrong = [
    [['set', 'l3.bypass', '--for', '1m', '--reason', 'x'], {}, 2, /l1\.bypass/],
    [['set', 'l1.bypass', '--reason', 'x'], {}, 2, /"for"/],
    [['set', 'l1.bypass', '--for', '1m'], {}, 2, /"reason"/],
    [['set', 'l1.bypass', '--for', '1m', '--reason', 'x', '--entity', ' '], {}, 2, /"entity"/],
    [
      ['set', 'l1.bypass', '--for', '1m', '--reason', 'x', '--namespace', 'no-such'],
      {},
      2,
      /no-such/,
    ],
    [['ladder', '6', '--for', '1m', '--reason', 'x'], {}, 2, /"step"/],
    [['list', '--limit', 'all'], {}, 2, /--limit/],
    [['list'], { DATABASE_URL: gone, REDIS_URL: '' }, 1, /PostgreSQL/],
  ] as const
  const runs = wrong.map(async ([args, environment, code, message]) => {
    const { stderr, ...answer } = await run(args, environment)
    return { args, expected: code, message, stderr, ...answer }
  })
  for (const { args, expected, message, stderr, code, stdout } of await Promise.all(runs)) {
    expect({ args, code, stdout, stderr }).toEqual({
      args,
      code: expected,
      stdout: '',
      stderr: expect.stringMatching(message),
    })
  }
}, 60_000)
