/** Known things are done to a started cache; what it tells of them is compared with what was done. */
import { AggregatorRegistry, Gauge, Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { assemble } from '../../src/lockstep.ts'
import { catalogue } from '../../src/telemetry/catalogue.ts'
import type { CacheEvents } from '../../src/telemetry/events.ts'
import { entity } from '../../src/types.ts'
import { withL2, withOutbox } from '../support/parts.ts'
import { parseScrape, type Scrape } from '../support/scrape.ts'
import { startRedis } from '../support/servers.ts'
import { gate, type ItemWorldCache, openWorld, until } from '../support/world.ts'

const scrape = async (cache: { metrics(): Registry }): Promise<Scrape> =>
  parseScrape(await cache.metrics().metrics())

const item = { entity: 'item' }
/** Long, so that a busy machine loses no trust, and nobody tells Redis twice, where calls are counted. */
const timing = {
  stalenessBound: '20s',
  pollInterval: '1s',
  outboxRetention: '5m',
  delayedDelete: '1m',
}
const reads = (numbers: Scrape): Record<string, number> =>
  Object.fromEntries(
    numbers
      .series('lockstep_reads_total')
      .filter(({ value }) => value > 0)
      .map(({ labels, value }) => [`${labels.tier} ${labels.outcome}`, value]),
  )

test('what was done is what the scrape says', async () => {
  const world = await openWorld()
  const [one, two] = [await world.open({ timing }), await world.open({ timing })]

  await one.item.get(1) // loads
  await one.item.get(1) // three hits of L1
  one.item.peek(1)
  await one.item.getMany([1, 2]) // and a load
  expect(await one.item.get(999)).toBeUndefined() // loads, and finds nothing
  await one.item.get(999) // which L1 knows now
  // A reader has its answer before Redis has the value.
  await until('all fills were answered', () => one.stats().item.fills === 3)
  await two.item.get(1) // a hit of L2

  const first = await scrape(one)
  expect(reads(first)).toEqual({
    'l1 fresh': 3,
    'l1 absent': 1,
    'source fresh': 2,
    'source absent': 1,
  })
  expect(reads(await scrape(two))).toEqual({ 'l2 fresh': 1 })
  expect(first.value('lockstep_loads_total', item)).toBe(3)
  expect(first.value('lockstep_loaded_ids_total', item)).toBe(3)
  expect(first.value('lockstep_load_seconds_total', item)).toBeGreaterThan(0)
  expect(first.value('lockstep_fills_total', { ...item, answer: 'filled' })).toBe(3)
  expect(first.value('lockstep_l1_fills_total', { ...item, answer: 'kept' })).toBe(3)
  expect(first.value('lockstep_l1_entries', item)).toBe(3)
  expect(first.value('lockstep_l1_bytes', item)).toBeGreaterThan(3 * 256)
  const hop = (operation: string, of = 'l2') =>
    first.value('lockstep_hop_seconds_count', { hop: of, operation })
  expect([hop('lookup'), hop('acquire'), hop('fill')]).toEqual([3, 3, 3])
  expect(hop('load', 'source')).toBe(3)
  expect(hop('poll', 'source')).toBeGreaterThan(0)
  expect(first.series('lockstep_hop_failures_total').filter(({ value }) => value > 0)).toEqual([])
  // The same numbers in both forms.
  expect(one.stats().item).toMatchObject({ hits: { l1: 4, l2: 0 }, misses: 3, loads: 3, fills: 3 })

  await world.write(one, 1)
  await one.item.invalidate(2)
  await expect(
    one.item.write(3, () => {
      throw new Error('the callback’s own')
    }),
  ).rejects.toThrow('own')
  const second = await scrape(one)
  expect(second.value('lockstep_writes_total', { outcome: 'fenced' })).toBe(2)
  expect(second.value('lockstep_writes_total', { outcome: 'unfenced' })).toBe(0)
  expect(second.value('lockstep_write_failures_total', { code: 'OTHER' })).toBe(1)
  expect(second.value('lockstep_write_seconds_count')).toBe(2)
  for (const each of ['first', 'second']) {
    const labels = { delete: each, outcome: 'dropped' }
    expect(second.value('lockstep_deletes_total', labels)).toBe(2)
  }
  expect(second.value('lockstep_l1_dropped_total', item)).toBe(2)
  expect(second.value('lockstep_hop_seconds_count', { hop: 'l2', operation: 'invalidate' })).toBe(4)
  expect(second.value('lockstep_hop_seconds_count', { hop: 'source', operation: 'commit' })).toBe(2)
  await until('both heard of both writes, by either plane', async () => {
    const heard = await Promise.all(
      [one, two].map(async (cache) =>
        (await scrape(cache)).series('lockstep_heard_writes_total').map(({ value }) => value),
      ),
    )
    return JSON.stringify(heard) === '[[4,2],[4,2]]'
  })
})

test('every series is one of the catalogue, with its labels and nothing else', async () => {
  const world = await openWorld()
  const cache = await world.open()
  await cache.item.get(1)
  await world.write(cache, 1)
  const numbers = await scrape(cache)
  expect([...numbers.names].sort()).toEqual(Object.keys(catalogue).sort())
  expect([...numbers.namespaces]).toEqual([world.namespace])
  for (const [name, { type, labels }] of Object.entries(catalogue)) {
    const suffixes = type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']
    for (const suffix of suffixes) {
      const wanted = suffix === '_bucket' ? [...labels, 'le'] : labels
      for (const one of numbers.series(name + suffix)) {
        expect(Object.keys(one.labels).sort(), name).toEqual([...wanted].sort())
      }
    }
  }
})

test('a refused fill and a failed load are counted, told, and nobody is harmed', async () => {
  const world = await openWorld()
  const held = gate()
  let isHeld = false
  let isFailing = false
  const cache = await world.open({
    afterRead: async () => {
      if (isHeld) await held.pass()
      if (isFailing) throw new Error('the loader’s own')
    },
  })
  const other = await world.open()
  const refused: CacheEvents['fill-refused'][] = []
  const failed: CacheEvents['load-failed'][] = []
  cache.on('fill-refused', (event) => refused.push(event))
  cache.on('load-failed', (event) => failed.push(event))

  isHeld = true
  const read = cache.item.get(1)
  await held.held
  const { version } = await world.write(other, 1)
  held.open()
  isHeld = false
  expect((await read)?.version).toBe(version - 1)
  await until('the fill was answered', () => refused.length === 1)
  expect(refused[0]).toMatchObject({ entity: 'item', id: '1' })

  isFailing = true
  await expect(cache.item.get(2)).rejects.toMatchObject({ code: 'LOADER_FAILED' })
  expect(failed).toMatchObject([{ entity: 'item', ids: [2], error: { code: 'LOADER_FAILED' } }])

  const numbers = await scrape(cache)
  const reason = refused[0]?.reason as string
  expect(numbers.value('lockstep_fills_total', { ...item, answer: reason })).toBe(1)
  expect(numbers.value('lockstep_fills_total', { ...item, answer: 'filled' })).toBe(0)
  const code = { ...item, code: 'LOADER_FAILED' }
  expect(numbers.value('lockstep_load_failures_total', code)).toBe(1)
  expect(numbers.value('lockstep_read_failures_total', code)).toBe(1)
  expect(reads(numbers)).toEqual({ 'source fresh': 1 })
})

test('a Redis that does not answer shows in its hop, its deletes and its fills', async () => {
  const world = await openWorld()
  const cause = new Error('no answer')
  const cache = await world.open({
    // Whoever relays leaves the write to its writer for half of the interval.
    timing: { pollInterval: '10s', stalenessBound: '20s', delayedDelete: '1m' },
    replace: withL2(() => ({
      lookup: async (_entity, ids) => ids.map(() => ({ kind: 'unavailable', cause })),
      invalidate: async () => ({ kind: 'unavailable', cause }),
    })),
  })
  expect((await cache.item.get(1))?.version).toBe(0)
  expect((await world.write(cache, 1)).fenced).toBe(false)
  const numbers = await scrape(cache)
  const failures = (operation: string) =>
    numbers.value('lockstep_hop_failures_total', { hop: 'l2', operation })
  expect([failures('lookup'), failures('invalidate'), failures('fill')]).toEqual([1, 5, 0])
  expect(numbers.value('lockstep_hop_seconds_count', { hop: 'l2', operation: 'lookup' })).toBe(0)
  const deletes = (each: string, outcome: string) =>
    numbers.value('lockstep_deletes_total', { delete: each, outcome })
  // Three retries of the second.
  expect([deletes('first', 'unavailable'), deletes('second', 'unavailable')]).toEqual([1, 4])
  expect(numbers.value('lockstep_writes_total', { outcome: 'unfenced' })).toBe(1)
  await until('the backlog shows, and grows older', async () => {
    const later = await scrape(cache)
    const backlog = (what: string): number | undefined =>
      later.value(`lockstep_outbox_backlog_${what}`, { destination: 'l2' })
    return backlog('rows') === 1 && (backlog('seconds') ?? 0) > 0.3
  })
})

test('the breaker of Redis is seen, and its changes are told', async () => {
  const redis = await startRedis()
  const world = await openWorld({ redisUrl: redis.url })
  const cache = await world.open({ timing: { redisDeadline: '200ms' } })
  const told: CacheEvents['breaker'][] = []
  cache.on('breaker', (event) => told.push(event))
  const state = async (): Promise<string | undefined> =>
    (await scrape(cache))
      .series('lockstep_breaker_state')
      .find(({ labels, value }) => labels.hop === 'l2' && value === 1)?.labels.state
  expect(await state()).toBe('closed')
  await redis.stop()
  await until('it opened', async () => {
    await cache.item.get(1, { consistency: 'strong' })
    return told.length > 0
  })
  expect(told[0]).toEqual({ hop: 'l2', state: 'open', reason: 'local' })
  expect(['open', 'half-open']).toContain(await state())
  await redis.start()
  await until('it closed', async () => {
    await cache.item.get(1, { consistency: 'strong' })
    return told.at(-1)?.state === 'closed'
  })
  expect(await state()).toBe('closed')
})

test('the age of trust and its end are seen, and told', async () => {
  const world = await openWorld()
  let isDown = false
  const down = Promise.reject(new Error('the outbox is out of reach'))
  down.catch(() => {})
  const cache = await world.open({
    timing: { stalenessBound: '400ms', pollInterval: '50ms' },
    replace: withOutbox((outbox) => ({
      poll: (...args) => (isDown ? down : outbox.poll(...args)),
    })),
  })
  const told: CacheEvents['trust'][] = []
  cache.on('trust', (event) => told.push(event))
  const trusted = await scrape(cache)
  expect(trusted.value('lockstep_staleness_bound_seconds')).toBe(0.4)
  const isWithinBound = (trusted.value('lockstep_trust_age_seconds') ?? -1) <= 0.4
  expect(trusted.value('lockstep_l1_trusted')).toBe(isWithinBound ? 1 : 0)
  isDown = true
  await until('trust has run out', () => told.some(({ state }) => state === 'lost'))
  expect(told.at(-1)).toEqual({ state: 'lost', reason: 'expired' })
  const lost = await scrape(cache)
  expect(lost.value('lockstep_l1_trusted')).toBe(0)
  expect(lost.value('lockstep_trust_age_seconds')).toBeGreaterThan(0.4)
  expect(lost.value('lockstep_trust_losses_total', { reason: 'expired' })).toBeGreaterThan(0)
  expect(
    lost.value('lockstep_hop_failures_total', { hop: 'source', operation: 'poll' }),
  ).toBeGreaterThan(0)
  isDown = false
  await until('trust is back', () => told.at(-1)?.state === 'gained')
})

test('each committed write is told once to each process, with a ticket that reads it', async () => {
  const world = await openWorld()
  const caches = [await world.open(), await world.open()]
  const told = caches.map((cache) => {
    const heard: CacheEvents['invalidated'][] = []
    cache.on('invalidated', (event) => heard.push(event))
    return heard
  })
  const [writing, hearing] = caches as [ItemWorldCache, ItemWorldCache]
  const { version, ticket } = await world.write(writing, 1)
  await writing.invalidate([writing.item.key(2), writing.item.key(3)])
  await expect(
    writing.item.write(4, () => {
      throw new Error('rolled back')
    }),
  ).rejects.toThrow('rolled back')
  await world.write(writing, 5)
  await until('all was heard', () => told.every((heard) => heard.some(({ ids }) => ids[0] === '5')))
  for (const heard of told) {
    expect(heard.map(({ ids }) => [...ids].sort()).sort()).toEqual([['1'], ['2', '3'], ['5']])
    const first = heard.find(({ ids }) => ids[0] === '1')
    expect([first?.entity, first?.ticket]).toEqual(['item', ticket])
  }
  const heard = told[1]?.find(({ ids }) => ids[0] === '1')
  const read = await hearing.item.get(1, { ticket: heard?.ticket as string })
  expect(read?.version).toBe(version)
})

test('what on() cannot use is told; a listener that fails, sync or async, breaks nothing', async () => {
  const world = await openWorld()
  const failures: string[] = []
  const log = { debug: () => {}, info: () => {}, warn: () => {} }
  const logger = { ...log, error: (_: object, message: string) => void failures.push(message) }
  const cache = await world.open({ options: { logger } as never })
  const invalid = expect.objectContaining({ code: 'OPTION_INVALID' })
  expect(() => cache.on('hit' as never, () => {})).toThrow(invalid)
  expect(() => cache.on('trust', 'nothing' as never)).toThrow(invalid)
  cache.on('invalidated', () => {
    throw new Error('thrown')
  })
  cache.on('invalidated', async () => {
    throw new Error('rejected')
  })
  let heard = 0
  const unsubscribe = cache.on('invalidated', () => heard++)
  await world.write(cache, 1)
  await until('it was told', () => heard === 1 && failures.length === 2)
  expect(failures.join()).toMatch(/thrown.*rejected/)
  unsubscribe()
  await world.write(cache, 1)
  await until('the others were told again', () => failures.length === 4)
  expect(heard).toBe(1)
  expect((await cache.item.get(1))?.version).toBe(2)
})

test('after close() a scrape gives the last values, and events are over', async () => {
  const world = await openWorld()
  const cache = await world.open({ timing })
  const told: unknown[] = []
  cache.on('trust', (event) => told.push(event))
  await cache.item.get(1)
  await cache.item.get(1)
  await cache.close()
  expect(told).toEqual([{ state: 'lost', reason: 'closed' }])
  const text = await cache.metrics().metrics()
  expect(await cache.metrics().metrics()).toBe(text)
  const last = parseScrape(text)
  expect(reads(last)).toEqual({ 'l1 fresh': 1, 'source fresh': 1 })
  expect(last.value('lockstep_l1_entries', item)).toBe(0)
  expect(last.value('lockstep_l1_trusted')).toBe(0)
  expect(last.value('lockstep_trust_age_seconds')).toBe(Number.POSITIVE_INFINITY)
  expect(() => cache.on('trust', () => {})).toThrow(expect.objectContaining({ code: 'CLOSED' }))
})

test('registries go together as docs/metrics.md says', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const own = new Registry()
  new Gauge({ name: 'own', help: 'own', registers: [own] }).set(7)
  const merged = parseScrape(await Registry.merge([own, cache.metrics()]).metrics())
  expect([merged.value('own'), merged.value('lockstep_l1_trusted')]).toEqual([7, 1])
  expect(merged.namespaces).toEqual(new Set([undefined, world.namespace]))

  const second = await assemble(
    {
      namespace: `${world.namespace}-2`,
      postgres: world.databaseUrl,
      entities: {
        item: entity('item', {
          load: async (_ids: number[]): Promise<{ id: number }[]> => [],
          id: ({ id }) => id,
        }),
      },
    },
    (parts) => parts,
  )
  try {
    await cache.item.get(1)
    const caches = [cache, second]
    const all = AggregatorRegistry.aggregate(
      await Promise.all(caches.map((one) => one.metrics().getMetricsAsJSON())),
    )
    const text = await all.metrics()
    const both = parseScrape(text)
    expect(both.namespaces).toEqual(new Set([world.namespace, `${world.namespace}-2`]))
    const loads = both.series('lockstep_loads_total').map(({ value }) => value)
    expect(loads.sort()).toEqual([0, 1])
    // Without Redis there is nothing to say of it.
    const alone = await scrape(second)
    const hops = alone.series('lockstep_hop_seconds_count').map(({ labels }) => labels.hop)
    expect(new Set(hops)).toEqual(new Set(['source']))
    const breakers = alone.series('lockstep_breaker_state').map(({ labels }) => labels.hop)
    expect(new Set(breakers)).toEqual(new Set(['source']))
  } finally {
    await second.close()
  }
})
