/** What compiles with the front door of the package, and what does not (DESIGN §11). */
import type { Registry } from 'prom-client'
import { describe, expectTypeOf, test } from 'vitest'
import {
  type Cache,
  type CacheEvents,
  type ErrorCode,
  type EventsPublisher,
  entity,
  type FlagInfo,
  type FlagName,
  type Key,
  type LockstepError,
  lockstep,
  mergeTickets,
  type PartialReadError,
  type PublisherOptions,
  publisher,
  type Ticket,
  type Warmed,
} from '../../src/index.ts'

interface City {
  readonly id: number
  readonly name: string
}
interface Seat {
  readonly row: number
  readonly place: string
  readonly isFree: boolean
}

const city = entity('city', {
  load: async (ids: number[], { db, signal }) => {
    signal.throwIfAborted()
    return db<City>('cities').whereIn('id', ids)
  },
  id: (row) => row.id,
  ttl: '10m',
  grace: '1h',
})
const country = entity('country', {
  load: async (codes: string[]): Promise<{ code: string; name: string }[]> =>
    codes.map((code) => ({ code, name: code })),
  id: (row) => row.code,
})
const seat = entity('seat', {
  load: async (_ids: { row: number; place: string }[]): Promise<(Seat | null | undefined)[]> => [],
  id: ({ row, place }) => ({ row, place }),
  idToString: ({ row, place }) => `${row}/${place}`,
})
const big = entity('big', {
  load: async (_ids: bigint[]): Promise<{ id: bigint }[]> => [],
  id: (row) => row.id,
})
const entities = { city, country, seat, big }
declare const cache: Cache<typeof entities>

describe('flags', () => {
  test('are known by name, and have to end', () => {
    expectTypeOf(cache.flags.set).parameter(0).toEqualTypeOf<FlagName>()
    expectTypeOf(cache.health().flags).toEqualTypeOf<readonly FlagInfo[]>()
    expectTypeOf<CacheEvents['flag']['flag']>().toEqualTypeOf<FlagName>()
    // @ts-expect-error: no such flag
    void cache.flags.set('l3.bypass', { for: '1m', reason: 'x' })
    // @ts-expect-error: for ever
    void cache.flags.set('l2.bypass', { reason: 'x' })
  })
})

describe('entities', () => {
  test('an id that is an object needs an idToString', () => {
    // @ts-expect-error: without idToString
    entity('seat', {
      load: async (_ids: { row: number }[]): Promise<Seat[]> => [],
      id: ({ row }: Seat) => ({ row }),
    })
    // @ts-expect-error: one of the ids is an object
    entity('seat', {
      load: async (_ids: (number | { row: number })[]): Promise<Seat[]> => [],
      id: ({ row }: Seat) => row,
    })
  })

  test('a primitive id may have one', () => {
    entity('city', {
      load: async (_ids: number[]): Promise<City[]> => [],
      id: (row) => row.id,
      idToString: (id) => id.toFixed(0),
    })
  })

  test('the id of a row has the type of the ids that are loaded', () => {
    entity('city', {
      load: async (_ids: number[]): Promise<City[]> => [],
      // @ts-expect-error: a string
      id: (row: City) => row.name,
    })
  })

  test('load and id are required, options are known, values are objects', () => {
    // @ts-expect-error: no id
    entity('city', { load: async (_ids: number[]): Promise<City[]> => [] })
    // @ts-expect-error: no load
    entity('city', { id: (row: City) => row.id })
    entity('city', {
      load: async (_ids: number[]): Promise<City[]> => [],
      id: (row: City) => row.id,
      // @ts-expect-error: a slip of the pen
      tll: '5m',
    })
    entity('count', {
      // @ts-expect-error: a row is an object
      load: async (_ids: number[]): Promise<number[]> => [],
      id: (row: never) => row,
    })
    entity('city', {
      load: async (_ids: number[]): Promise<City[]> => [],
      id: (row: City) => row.id,
      // @ts-expect-error: not one of the three
      values: 'copied',
    })
  })

  test('rows come as an array, not one by one', () => {
    entity('city', {
      // @ts-expect-error: one row
      load: async (ids: number[]): Promise<City> => ({ id: ids[0] ?? 0, name: '' }),
      id: (row: City) => row.id,
    })
  })
})

describe('lockstep', () => {
  test('gives a cache of its entities', () => {
    const opened = lockstep({ namespace: 'shop', postgres: 'postgres://x', entities: { city } })
    expectTypeOf(opened).resolves.toEqualTypeOf<Cache<{ readonly city: typeof city }>>()
  })

  test('takes a primary with replicas, each as one server alone', () => {
    void lockstep({
      namespace: 'shop',
      postgres: { primary: '', replicas: ['', { host: '' }] },
      entities,
    })
    void lockstep({ namespace: 'shop', postgres: { primary: '' }, entities })
    // @ts-expect-error: no primary
    void lockstep({ namespace: 'shop', postgres: { replicas: [''] }, entities })
    // @ts-expect-error: one where a list is due
    void lockstep({ namespace: 'shop', postgres: { primary: '', replicas: '' }, entities })
  })

  test('needs a namespace, a source and entities', () => {
    // @ts-expect-error: no namespace
    void lockstep({ postgres: '', entities })
    // @ts-expect-error: no source
    void lockstep({ namespace: 'shop', entities })
    // @ts-expect-error: no entities
    void lockstep({ namespace: 'shop', postgres: '' })
    // @ts-expect-error: not an entity
    void lockstep({ namespace: 'shop', postgres: '', entities: { city: { name: 'city' } } })
    // @ts-expect-error: not a duration's name
    void lockstep({ namespace: 'shop', postgres: '', entities, timing: { staleness: '1s' } })
  })

  test('redis may be absent, or undefined as an environment has it', () => {
    const redis = undefined as string | undefined
    void lockstep({ namespace: 'shop', postgres: '', redis, entities })
  })
})

describe('reads', () => {
  test('an entity that does not exist does not compile', () => {
    // @ts-expect-error: no such entity
    cache.planet
    // @ts-expect-error: nor a method of one
    cache.city.set
  })

  test('get and peek have the value or undefined', () => {
    expectTypeOf(cache.city.get(42)).resolves.toEqualTypeOf<City | undefined>()
    expectTypeOf(cache.city.peek(42)).toEqualTypeOf<City | undefined>()
    expectTypeOf(cache.seat.get({ row: 1, place: 'a' })).resolves.toEqualTypeOf<Seat | undefined>()
  })

  test('warm takes any iterable of ids, and says what became of them', () => {
    async function* some(): AsyncGenerator<number> {
      yield 1
    }
    expectTypeOf(cache.city.warm([1, 2])).resolves.toEqualTypeOf<Warmed>()
    void cache.city.warm(some(), {
      rate: 100,
      signal: new AbortController().signal,
      progress: ({ warmed, absent, failed, skipped }) => warmed + absent + failed + skipped,
    })
    // @ts-expect-error: ids of another type
    void cache.city.warm(['1'])
    // @ts-expect-error: a rate is a number of ids a second
    void cache.city.warm([1], { rate: '1s' })
    // @ts-expect-error: a slip of the pen
    void cache.city.warm([1], { onProgress: () => {} })
  })

  test('getMany has a Map by the ids as they were given', () => {
    expectTypeOf(cache.city.getMany([1, 2])).resolves.toEqualTypeOf<Map<number, City>>()
    expectTypeOf(cache.country.getMany(new Set(['FR']))).resolves.toEqualTypeOf<
      Map<string, { code: string; name: string }>
    >()
    expectTypeOf(cache.big.getMany([1n])).resolves.toEqualTypeOf<Map<bigint, { id: bigint }>>()
  })

  test('getEntry says where the value came from', async () => {
    const entry = await cache.city.getEntry(42)
    expectTypeOf(entry.value).toEqualTypeOf<City | undefined>()
    expectTypeOf(entry.tier).toEqualTypeOf<'l1' | 'l2' | 'source'>()
    expectTypeOf(entry.state).toEqualTypeOf<'fresh' | 'stale'>()
    expectTypeOf(entry.ageMs).toEqualTypeOf<number>()
    expectTypeOf(entry.proven).toEqualTypeOf<boolean>()
  })

  test('a wrong id type does not compile, in any of them', () => {
    // @ts-expect-error: a number is wanted
    void cache.city.get('42')
    // @ts-expect-error: a number is wanted
    cache.city.peek(42n)
    // @ts-expect-error: numbers are wanted
    void cache.city.getMany(['1'])
    // @ts-expect-error: one id is not many
    void cache.city.getMany(1)
    // @ts-expect-error: a text is wanted
    void cache.country.get(33)
    // @ts-expect-error: a part of the id is missing
    void cache.seat.get({ row: 1 })
    // @ts-expect-error: no id
    void cache.city.get()
    // @ts-expect-error: maybe no id
    void cache.city.get(undefined as number | undefined)
    // @ts-expect-error: a number is wanted
    cache.city.key('42')
    // @ts-expect-error: a number is wanted
    void cache.city.invalidate('42')
  })

  test('options are what they are', () => {
    void cache.city.get(42, { consistency: 'strong', timeout: '1s', ticket: ['1.x'] })
    // @ts-expect-error: no such consistency
    void cache.city.get(42, { consistency: 'eventual' })
    // @ts-expect-error: no such option
    void cache.city.get(42, { maxAge: 5 })
    // @ts-expect-error: a ticket is a text
    void cache.city.get(42, { ticket: 5 })
  })
})

describe('writes', () => {
  test('with an id the result has what the callback returned, whatever it is', () => {
    const written = cache.city.write(42, async (tx) => tx('cities').where({ id: 42 }).delete())
    expectTypeOf(written).resolves.toHaveProperty('value').toEqualTypeOf<number>()
    expectTypeOf(written).resolves.toHaveProperty('ticket').toEqualTypeOf<Ticket>()
    expectTypeOf(written).resolves.toHaveProperty('fenced').toEqualTypeOf<boolean>()
    const nothing = cache.city.write(42, () => {})
    expectTypeOf(nothing).resolves.toHaveProperty('value').toEqualTypeOf<void>()
  })

  test('without an id the callback returns rows of the entity: one or several', () => {
    const row: City = { id: 1, name: 'Ulm' }
    expectTypeOf(cache.city.write(async () => [row]))
      .resolves.toHaveProperty('value')
      .toEqualTypeOf<City[]>()
    expectTypeOf(cache.city.write(() => row))
      .resolves.toHaveProperty('value')
      .toEqualTypeOf<City>()
    void cache.city.write((tx) => tx<City>('cities').insert(row).returning('*'))
  })

  test('without an id what is no row of the entity does not compile', () => {
    // @ts-expect-error: a number of rows has no ids
    void cache.city.write(async () => 1)
    // @ts-expect-error: nothing has no ids
    void cache.city.write(async () => {})
    // @ts-expect-error: ids are no rows
    void cache.city.write(async () => [1, 2])
    // @ts-expect-error: a row of another entity
    void cache.city.write(async () => [{ code: 'FR', name: 'France' }])
    // @ts-expect-error: an update without returning is a number
    void cache.city.write((tx) => tx<City>('cities').update({ name: 'Ulm' }))
  })

  test('a wrong id type, or no callback, does not compile', () => {
    // @ts-expect-error: a number is wanted
    void cache.city.write('42', () => {})
    // @ts-expect-error: no callback
    void cache.city.write(42)
    // @ts-expect-error: no such choice
    void cache.city.write(42, () => {}, { onFenceFailure: 'ignore' })
  })

  test('keys of several entities go into one write', () => {
    const keys = [cache.city.key(42), cache.country.key('FR')]
    expectTypeOf(cache.city.key(42)).toEqualTypeOf<Key<'city'>>()
    const written = cache.write(keys, async () => 'done' as const)
    expectTypeOf(written).resolves.toHaveProperty('value').toEqualTypeOf<'done'>()
    void cache.invalidate(keys)
    // @ts-expect-error: ids are no keys
    void cache.write([42], () => {})
    // @ts-expect-error: one key is not many
    void cache.invalidate(cache.city.key(42))
  })

  test('a ticket of a write is what a read takes, and what can be merged', async () => {
    const { ticket } = await cache.city.write(42, () => {})
    void cache.country.get('FR', { ticket })
    expectTypeOf(mergeTickets(ticket, ticket)).toEqualTypeOf<Ticket>()
    const { ticket: other } = await cache.city.invalidate(1)
    void cache.city.get(1, { ticket: [ticket, other] })
  })

  test('a tag that is given to a Key names its entity', () => {
    // @ts-expect-error: of another entity
    const wrong: Key<'country'> = cache.city.key(42)
    void wrong
  })
})

describe('what a cache tells', () => {
  test('a listener gets the event that it is for', () => {
    const unsubscribe = cache.on('trust', (event) => {
      if (event.state === 'lost') expectTypeOf(event.reason).toExtend<string>()
      // @ts-expect-error: it has a reason when it is lost
      else void event.reason
    })
    expectTypeOf(unsubscribe).toEqualTypeOf<() => void>()
    cache.on('invalidated', ({ ids, ticket }) => {
      expectTypeOf(ids).toEqualTypeOf<readonly string[]>()
      void cache.city.get(1, { ticket })
    })
    cache.on('breaker', async (event) => {
      expectTypeOf(event).toEqualTypeOf<CacheEvents['breaker']>()
    })
    // @ts-expect-error: no such event
    cache.on('hit', () => {})
  })

  test('metrics are a registry of prom-client', () => {
    expectTypeOf(cache.metrics()).toEqualTypeOf<Registry>()
  })
})

describe('the rest', () => {
  test('a cache can be disposed of', () => {
    expectTypeOf(cache).toExtend<AsyncDisposable>()
    expectTypeOf(cache.close({ timeout: '5s' })).resolves.toEqualTypeOf<void>()
  })

  test('an error has a code that is one of those', () => {
    expectTypeOf<LockstepError['code']>().toEqualTypeOf<ErrorCode>()
    expectTypeOf<'READ_TIMEOUT'>().toExtend<ErrorCode>()
    expectTypeOf<'NO_SUCH_CODE'>().not.toExtend<ErrorCode>()
    expectTypeOf<PartialReadError<number, City>['values']>().toEqualTypeOf<
      ReadonlyMap<number, City>
    >()
  })

  test('a cache cannot be written to by hand', () => {
    const other = cache
    // @ts-expect-error: entities are read-only
    cache.city = other.city
  })
})

describe('publisher', () => {
  test('needs Kafka and a namespace, and takes ids as an array', () => {
    expectTypeOf(publisher).returns.toEqualTypeOf<EventsPublisher>()
    expectTypeOf<PublisherOptions['kafka']>().extract<string>().toEqualTypeOf<string>()
    // @ts-expect-error: without Kafka
    publisher({ namespace: 'shop' })
    const events = publisher({ namespace: 'shop', kafka: ['10.0.0.1:9092'], source: 'billing' })
    const { signal } = new AbortController()
    expectTypeOf(events.invalidate('city', [1, '2', 3n], { timeout: '1s', signal })).toEqualTypeOf<
      Promise<void>
    >()
    // @ts-expect-error: one id that is not in an array
    void events.invalidate('city', 1)
    // @ts-expect-error: an id that is an object
    void events.invalidate('city', [{ row: 1 }])
    // @ts-expect-error: no such option
    void events.invalidate('city', [1], { retries: 1 })
  })
})
