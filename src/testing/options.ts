import { type AnyEntity, wrong } from '../model/entity.ts'
import type { TestCacheOptions } from './test-cache.ts'

const known: ReadonlySet<string> = new Set<keyof TestCacheOptions<Record<string, AnyEntity>>>([
  'entities',
  'rows',
  'loaders',
  'knex',
  'tx',
  'redis',
  'logger',
  'timing',
  'maxConcurrentLoads',
  'onFenceFailure',
  'flags',
])

/** What is checked here; the other options are those of `lockstep`, and checked with them. */
export function checkOptions(options: Partial<TestCacheOptions<Record<string, AnyEntity>>>): void {
  if (options === null || typeof options !== 'object') {
    throw wrong('options', options, 'an object with entities would do')
  }
  for (const [key, value] of Object.entries(options)) {
    if (!known.has(key)) throw wrong(key, value, `one of ${[...known].join(', ')} would do`)
  }
  const { entities = {}, rows = {}, loaders = {}, knex, tx, redis } = options
  for (const [key, some] of Object.entries(rows)) {
    if (!Object.hasOwn(entities, key)) throw unknownEntity('rows', key, entities)
    if (!Array.isArray(some)) throw wrong(`rows.${key}`, some, 'an array of rows would do')
    if (Object.hasOwn(loaders, key)) {
      throw wrong(`loaders.${key}`, 'given beside rows', 'one of the two would do')
    }
  }
  for (const [key, loader] of Object.entries(loaders)) {
    if (!Object.hasOwn(entities, key)) throw unknownEntity('loaders', key, entities)
    if (typeof loader !== 'function') throw wrong(`loaders.${key}`, loader, 'a function would do')
  }
  if (knex !== undefined && typeof knex?.transaction !== 'function') {
    throw wrong('knex', knex, 'a Knex instance would do')
  }
  if (tx !== undefined && typeof tx !== 'function') {
    throw wrong('tx', tx, 'a function (rows) => … would do')
  }
  if (tx && knex) throw wrong('tx', 'given beside knex', 'one of the two would do')
  if (redis !== undefined && typeof redis !== 'boolean') {
    throw wrong('redis', redis, 'true or false would do')
  }
}

function unknownEntity(option: string, key: string, entities: object): Error {
  return wrong(`${option}.${key}`, key, `one of ${Object.keys(entities).join(', ')} would do`)
}
