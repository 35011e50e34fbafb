/** A cache whose calls are recorded, and move the test's clock on where they can't go on without. */
import { rowsOf } from '../coordinator/deletes.ts'
import type { Duration } from '../model/duration.ts'
import type { AnyEntity } from '../model/entity.ts'
import type {
  Cache,
  CacheMethods,
  EntityCache,
  JoinedWriteOptions,
  Key,
  ReadOptions,
  WarmOptions,
  WriteOptions,
} from '../types.ts'
import type { CallRecorder, RecordedRead } from './recorder.ts'
import type { AutoClock } from './test-clock.ts'

type Door = EntityCache<string, unknown, object>
type Run = (tx: never) => unknown

export function watchedCache<Entities extends Record<string, AnyEntity>>(
  cache: Cache<Entities>,
  entities: Entities,
  recorder: CallRecorder,
  clock: AutoClock,
): Cache<Entities> {
  const watch: Watch = { recorder, clock }
  const doors = Object.entries(entities).map(([key, entity]) => [
    key,
    watchedDoor(cache[key] as unknown as Door, entity, watch),
  ])
  const methods = {
    write: (keys: readonly Key[], run: Run, options?: WriteOptions | JoinedWriteOptions) =>
      written(
        watch,
        run,
        (own) => cache.write(keys, own as never, options as WriteOptions),
        () => keys,
      ),
    invalidate: (keys: readonly Key[], options?: WriteOptions | JoinedWriteOptions) =>
      invalidated(watch, cache.invalidate(keys, options as WriteOptions), keys),
    close: (options?: { timeout?: Duration }) => clock.waitedFor(cache.close(options)),
    [Symbol.asyncDispose]: () => clock.waitedFor(cache[Symbol.asyncDispose]()),
  } as unknown as CacheMethods
  return Object.freeze({ ...cache, ...Object.fromEntries(doors), ...methods })
}

interface Watch {
  readonly recorder: CallRecorder
  readonly clock: AutoClock
}

function watchedDoor(door: Door, entity: AnyEntity, watch: Watch): Door {
  const { recorder, clock } = watch
  const read = (method: RecordedRead['method'], ids: readonly unknown[], options?: ReadOptions) =>
    recorder.add('read', {
      method,
      entity: entity.name,
      ids,
      ...(options === undefined ? {} : { options }),
    })
  return Object.freeze({
    ...door,
    get: (id: unknown, options?: ReadOptions) => {
      read('get', [id], options)
      return clock.waitedFor(door.get(id, options))
    },
    getEntry: (id: unknown, options?: ReadOptions) => {
      read('getEntry', [id], options)
      return clock.waitedFor(door.getEntry(id, options))
    },
    peek: (id: unknown) => {
      read('peek', [id])
      return door.peek(id)
    },
    getMany: async (ids: Iterable<unknown>, options?: ReadOptions) => {
      const isIterable = typeof ids === 'object' && ids !== null && Symbol.iterator in ids
      // An iterable may be one that can be walked only once.
      const some = isIterable ? [...ids] : ids
      read('getMany', isIterable ? [...some] : [], options)
      return clock.waitedFor(door.getMany(some, options))
    },
    warm: (ids: Iterable<unknown> | AsyncIterable<unknown>, options?: WarmOptions) =>
      clock.waitedFor(door.warm(ids, options)),
    write: (...args: unknown[]) => {
      if (typeof args[0] === 'function') {
        const [run, options] = args as [Run, WriteOptions | undefined]
        const idsOf = (value: unknown): readonly Key[] => keysOfRows(door, entity, value)
        return written(watch, run, (own) => door.write(own as never, options), idsOf)
      }
      const [id, run, options] = args as [unknown, Run, WriteOptions | undefined]
      return written(
        watch,
        run,
        (own) => door.write(id, own as never, options),
        () => [door.key(id)],
      )
    },
    invalidate: (id: unknown, options?: WriteOptions) =>
      invalidated(watch, door.invalidate(id, options), () => [door.key(id)]),
  }) as Door
}

function written<T extends { readonly value: unknown }>(
  { recorder, clock }: Watch,
  run: unknown,
  write: (run: unknown) => Promise<T>,
  keysOf: (value: unknown) => readonly Key[],
): Promise<T> {
  const over = new AbortController()
  const own =
    typeof run === 'function' ? (tx: unknown) => clock.outside(() => run(tx), over.signal) : run
  const call = write(own).then(
    (result) => {
      over.abort()
      recorder.add('write', { keys: keysOf(result.value) })
      return result
    },
    (error: unknown) => {
      over.abort()
      throw error
    },
  )
  return clock.waitedFor(call)
}

function invalidated<T>(
  { recorder, clock }: Watch,
  call: Promise<T>,
  keys: readonly Key[] | (() => readonly Key[]),
): Promise<T> {
  return clock.waitedFor(
    call.then((result) => {
      recorder.add('invalidation', { keys: typeof keys === 'function' ? keys() : [...keys] })
      return result
    }),
  )
}

function keysOfRows(door: Door, entity: AnyEntity, value: unknown): readonly Key[] {
  const keys = rowsOf(value).map((row) => door.key(entity.idOf(row)))
  return [...new Map(keys.map((key) => [key.id, key])).values()]
}
