/** A whole cache without services, for tests: the real coordinator, over places in memory. */
import { frontDoor } from '../front-door.ts'
import { S3Fifo } from '../memory/policies/s3fifo.ts'
import { L1Region } from '../memory/region.ts'
import { type AnyEntity, type Entity, type LoadContext, wrong } from '../model/entity.ts'
import { type Settings, settle } from '../options.ts'
import type { Db } from '../postgres/pool.ts'
import { RunningCache } from '../running-cache.ts'
import type { Cache, LockstepOptions } from '../types.ts'
import { MemoryDatabase } from './memory-database.ts'
import { MemoryFlagMirror, MemoryFlags } from './memory-flags.ts'
import { MemoryInstances } from './memory-instances.ts'
import { memoryL2 } from './memory-l2.ts'
import { MemoryRedis } from './memory-redis.ts'
import type { MemoryDb } from './memory-source.ts'
import { noDatabase } from './no-database.ts'
import { checkOptions } from './options.ts'
import { CallRecorder, type Recorder } from './recorder.ts'
import { MemoryTables, type Tables } from './tables.ts'
import { AutoClock, type TestClock } from './test-clock.ts'
import { testSource } from './test-source.ts'
import { type Trouble, TroubleMaker } from './trouble.ts'
import { watchedCache } from './watched-cache.ts'

type ValueOf<E> = E extends Entity<string, infer _Id, infer Value, Db> ? Value : never
type LoaderOf<E> =
  E extends Entity<string, infer Id, infer Value, Db>
    ? (ids: Id[], context: LoadContext<Db>) => PromiseLike<readonly (Value | null | undefined)[]>
    : never

export interface TestCacheOptions<Entities extends Record<string, AnyEntity>>
  extends Pick<
    LockstepOptions<Entities>,
    'logger' | 'timing' | 'maxConcurrentLoads' | 'onFenceFailure' | 'flags'
  > {
  entities: Entities
  /** Entities that are loaded from memory, and the rows they have to begin with. */
  rows?: { readonly [K in keyof NoInfer<Entities>]?: readonly ValueOf<Entities[K]>[] }
  /** Loaders that stand in for the entities' own. */
  loaders?: { readonly [K in keyof NoInfer<Entities>]?: LoaderOf<Entities[K]> }
  /**
   * What loaders get as `db`, and of which a write's callback gets a transaction: a Knex instance
   * of your own (over a PostgreSQL for tests, pg-mem, a mock of the client). It stays open.
   */
  knex?: Db
  /** Without `knex`: makes what a write's callback gets, from the rows as that transaction sees them. */
  tx?: (rows: Tables<NoInfer<Entities>>) => unknown
  /** `false`: as a cache without Redis (default true). */
  redis?: boolean
}

export interface TestCache<Entities extends Record<string, AnyEntity>> extends AsyncDisposable {
  /** What `lockstep()` would return: hand it to the code under test. */
  readonly cache: Cache<Entities>
  readonly clock: TestClock
  readonly recorder: Recorder
  /**
   * The rows of the entities in the option `rows`. To change them here is a write by somebody who
   * doesn't know the cache: nobody is told.
   */
  readonly rows: Tables<Entities>
  /** The rows as a transaction sees and changes them, by what its callback was given. */
  rowsIn(tx: unknown): Tables<Entities>
  readonly trouble: Trouble
  /** Closes the cache at once; what is under way is aborted. */
  close(): Promise<void>
}

/**
 * Opens a cache in memory: no PostgreSQL, no Redis, no time but its clock's. Rejects with
 * `OPTION_INVALID`.
 */
export async function testCache<const Entities extends Record<string, AnyEntity>>(
  options: TestCacheOptions<Entities>,
): Promise<TestCache<Entities>> {
  checkOptions(options as object)
  const { entities, rows = {}, loaders = {}, knex, tx, redis: hasL2 = true, ...rest } = options
  const clock = new AutoClock()
  const settings = settle({ ...rest, namespace: 'test', postgres: 'in memory', entities, clock })
  const names = settings.entities.map(({ name }) => name)
  const redis = new MemoryRedis(clock)
  const versions = new Map(settings.entities.map(({ name, version }) => [name, [version]]))
  const database = new MemoryDatabase({ clock, namespaceHasL2: hasL2, versions })
  const tables = new MemoryTables(database, entities, rows)
  for (const [key, some] of Object.entries(rows)) seed(tables.unnoticed, key, some as object[])
  const trouble = new TroubleMaker({ database, redis, clock, entities: names })
  const recorder = new CallRecorder(() => clock.now())
  const loading = { rows, loaders, knex, clock, recorder, trouble }
  const own = Object.fromEntries(
    Object.entries(entities).map(([key, entity]) => [key, withLoader(key, entity, loading)]),
  ) as Entities
  const { tombstoneRetentionMs } = settings.timing
  const running = new RunningCache(
    // Chance in the middle: a ttl of 10 min is 10 min, in every run.
    { ...settings, entities: Object.values(own), random: () => 0.5 } satisfies Settings,
    {
      l2: hasL2 ? memoryL2({ redis, tombstoneRetentionMs }) : undefined,
      // Every id may exist here: what a filter would spare is a load of the test's own.
      filters: undefined,
      fastPlane: redis.fastPlane(),
      outbox: trouble.outbox(),
      instances: new MemoryInstances(database),
      log: undefined,
      flags: {
        store: new MemoryFlags(clock),
        mirror: hasL2 ? new MemoryFlagMirror(clock) : undefined,
      },
      source: testSource({ database, tables, clock, trouble, knex, tx }),
      regions: new Map(settings.entities.map((one) => [one.name, openRegion(one)])),
    },
    async () => {},
  )
  await running.start()
  const cache = watchedCache(frontDoor(own, running), own, recorder, clock)
  const close = (): Promise<void> => cache.close({ timeout: 0 })
  return Object.freeze({
    cache,
    clock,
    recorder,
    rows: tables.unnoticed,
    rowsIn: (handle: unknown) => tables.of(handle),
    trouble,
    close,
    [Symbol.asyncDispose]: close,
  })
}

interface Loading {
  readonly rows: object
  readonly loaders: object
  readonly knex: Db | undefined
  readonly clock: AutoClock
  readonly recorder: CallRecorder
  readonly trouble: TroubleMaker
}

type Load = (ids: unknown[], context: LoadContext<unknown>) => PromiseLike<readonly unknown[]>

/** The entity with the loader that it has in this test, recorded and open to trouble. */
function withLoader(key: string, entity: AnyEntity, loading: Loading): AnyEntity {
  const { rows, loaders, clock, recorder, trouble } = loading
  const { name } = entity
  const fromRows: Load = async (ids, { db }) => {
    const texts = ids.map((id) => String(entity.keyOf(id as never)))
    return (db as MemoryDb).rows(name, texts)
  }
  const db =
    loading.knex ??
    noDatabase(
      'db',
      `the loader of entity "${name}"`,
      `testCache({ rows: { ${key}: [] } }), testCache({ loaders: { ${key}: async (ids) => [] } }) or testCache({ knex }) would do`,
    )
  const given = ((loaders as Record<string, unknown>)[key] ?? entity.load) as Load
  const fromOutside: Load = (ids, { signal }) =>
    clock.outside(() => given(ids, { db, signal }), signal)
  const read = Object.hasOwn(rows, key) ? fromRows : fromOutside
  const load: Load = async (ids, context) => {
    recorder.add('load', { entity: name, ids: [...ids] })
    const found = await read(ids, context)
    await trouble.afterRead(name, context.signal)
    return found
  }
  return Object.freeze({ ...entity, load }) as unknown as AnyEntity
}

function openRegion({ maxEntries, maxBytes }: AnyEntity): L1Region {
  return new L1Region({ maxEntries, maxBytes }, new S3Fifo(maxEntries))
}

function seed(tables: object, key: string, rows: readonly object[]): void {
  const table = (tables as Tables<Record<string, Entity<string, unknown, object>>>)[key]
  for (const row of rows) table?.put(row)
  if (table?.all().length !== rows.length) {
    throw wrong(`rows.${key}`, rows, 'rows of which each has an id of its own would do')
  }
}
