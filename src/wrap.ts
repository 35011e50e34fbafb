/** A repository whose named methods go through the cache, and whose others are its own. */
import { isPlainObject, wrong } from './model/entity.ts'
import { LockstepError, messageOf } from './model/errors.ts'
import type { Tx } from './postgres/pool.ts'
import type { EntityCache, ReadOptions, WriteOptions } from './types.ts'
import type { WrapOptions, Written } from './wrap-types.ts'

type Handle = EntityCache<string, unknown, unknown>
type Call = (...args: unknown[]) => Promise<unknown>
type OnWrite = ((written: Written) => unknown) | undefined

interface Read {
  readonly id?: (...args: unknown[]) => unknown
  readonly ids?: (...args: unknown[]) => Iterable<unknown>
  readonly options?: (...args: unknown[]) => ReadOptions | undefined
  readonly result?: (answered: unknown, ...args: unknown[]) => unknown
}

interface Write {
  readonly id?: (...args: unknown[]) => unknown
  readonly run?: (tx: Tx, ...args: unknown[]) => unknown
  readonly options?: (...args: unknown[]) => WriteOptions | undefined
}

const handleMethods = ['get', 'getMany', 'write', 'invalidate', 'key'] as const
const readKeys = ['id', 'ids', 'options', 'result']
const writeKeys = ['id', 'run', 'options']

/**
 * The repository with its reads answered by the cache and its writes told to it. What is not named
 * passes through, with the repository itself as `this`: private fields, getters and setters work, and
 * what its methods call on `this` goes past the cache.
 *
 * A write with `run` keeps every promise of `cache.<entity>.write`. One without calls the method,
 * which must have committed when its promise resolves, and invalidates after it, also when it threw,
 * since it may have written. A process that dies in between leaves the old value until it expires, and
 * until the call returns other callers may read it, with `strong` too. When the invalidation
 * fails the call rejects with `WRITE_NOT_INVALIDATED`.
 *
 * Throws `OPTION_INVALID` for a method that isn't there and for what else won't do.
 */
export function wrapRepository<Repository extends object, Id, Value>(
  repository: Repository,
  handle: EntityCache<string, Id, Value>,
  options: NoInfer<WrapOptions<Repository, Id, Value>>,
): Repository {
  if (repository === null || typeof repository !== 'object') {
    throw wrong('repository', repository, 'an object with methods would do')
  }
  if (handleMethods.some((name) => typeof handle?.[name] !== 'function')) {
    throw wrong('handle', handle, 'cache.<entity> of a cache that has started would do')
  }
  if (!isPlainObject(options)) {
    throw wrong('options', options, 'an object with read and write would do')
  }
  checkKeys('', options, ['read', 'write', 'onWrite'])
  const { onWrite } = options
  if (onWrite !== undefined && typeof onWrite !== 'function') {
    throw wrong('onWrite', onWrite, 'a function would do')
  }
  const cached = handle as unknown as Handle
  const calls = new Map<PropertyKey, Call>()
  for (const [name, read] of named<Read>('read', options.read, repository, readKeys)) {
    checkRead(`read.${String(name)}`, read)
    calls.set(name, reading(cached, read))
  }
  for (const [name, write] of named<Write>('write', options.write, repository, writeKeys)) {
    const option = `write.${String(name)}`
    if (calls.has(name)) throw unfit(option, 'is named in read too; one of the two would do')
    checkWrite(option, write)
    calls.set(
      name,
      write.run
        ? writing(cached, name, write as Required<Write>, onWrite)
        : invalidating(cached, name, repository, write as Required<Write>, onWrite),
    )
  }
  return behind(repository, calls)
}

function reading(handle: Handle, { id, ids, options, result }: Read): Call {
  const ask = (args: unknown[]): Promise<unknown> =>
    ids
      ? handle.getMany(ids(...args), options?.(...args))
      : handle.get(id?.(...args), options?.(...args))
  if (result) return async (...args) => result(await ask(args), ...args)
  return (...args) => {
    try {
      return ask(args)
    } catch (error) {
      return Promise.reject(error)
    }
  }
}

function writing(
  handle: Handle,
  method: string | symbol,
  { id, run, options }: Write & Pick<Required<Write>, 'run'>,
  onWrite: OnWrite,
): Call {
  return async (...args) => {
    const inTransaction = (tx: Tx): unknown => run(tx, ...args)
    const wanted = options?.(...args)
    const { ticket, fenced, value } = id
      ? await handle.write(id(...args), inTransaction, wanted)
      : await handle.write(inTransaction as (tx: Tx) => never, wanted)
    await onWrite?.({ method, ticket, fenced })
    return value
  }
}

function invalidating(
  handle: Handle,
  method: string | symbol,
  repository: object,
  { id: idOf }: Required<Write>,
  onWrite: OnWrite,
): Call {
  const write = async (args: unknown[]): Promise<unknown> =>
    (repository as Record<PropertyKey, Call>)[method]?.(...args)
  return async (...args) => {
    const id = idOf(...args)
    // An id that won't do has to be told before something is written.
    const { entity } = handle.key(id)
    const [written] = await Promise.allSettled([write(args)])
    // The outbox row is what counts now: rolled back, it would leave nothing to finish it by.
    const [told] = await Promise.allSettled([handle.invalidate(id, { onFenceFailure: 'proceed' })])
    if (told.status === 'rejected') throw notInvalidated(entity, method, written, told.reason)
    if (written.status === 'rejected') throw written.reason
    const { ticket, fenced } = told.value
    await onWrite?.({ method, ticket, fenced })
    return written.value
  }
}

function notInvalidated(
  entity: string,
  method: string | symbol,
  written: PromiseSettledResult<unknown>,
  why: unknown,
): LockstepError {
  const name = `"${String(method)}"`
  const failed = written.status === 'rejected'
  return new LockstepError(
    'WRITE_NOT_INVALIDATED',
    `${failed ? `${name} failed and may have written` : `${name} has written`}, and its id of entity "${entity}" could not be invalidated: ${messageOf(why)}`,
    {
      cause: failed ? new AggregateError([written.reason, why], messageOf(written.reason)) : why,
    },
  )
}

/** Stands in front of the repository: the named methods are `calls`, all the rest is its own. */
function behind<Repository extends object>(
  repository: Repository,
  calls: ReadonlyMap<PropertyKey, Call>,
): Repository {
  const passing = new WeakMap<object, unknown>()
  const get = (property: PropertyKey): unknown => {
    const call = calls.get(property)
    if (call) return call
    const value: unknown = Reflect.get(repository, property)
    if (typeof value !== 'function' || property === 'constructor') return value
    if (!passing.has(value)) passing.set(value, passThrough(value))
    return passing.get(value)
  }
  // A proxy of the function, not a bound one: it keeps the function's own properties, and `new`.
  const passThrough = (method: object): unknown =>
    new Proxy(method as () => unknown, {
      apply: (target, self, args) =>
        Reflect.apply(target, self === front ? repository : self, args),
    })
  // The proxy's target is not the repository: a frozen one would have to show its own methods.
  const front: Repository = new Proxy(Object.create(Reflect.getPrototypeOf(repository)), {
    get: (_, property) => get(property),
    has: (_, property) => Reflect.has(repository, property),
    set: (_, property, value) => !calls.has(property) && Reflect.set(repository, property, value),
    // A proxy may not say yes to one that can't be configured and that its target doesn't have.
    defineProperty: (_, property, descriptor) =>
      descriptor.configurable !== false &&
      !calls.has(property) &&
      Reflect.defineProperty(repository, property, descriptor),
    deleteProperty: (_, property) =>
      !calls.has(property) && Reflect.deleteProperty(repository, property),
    ownKeys: () => Reflect.ownKeys(repository),
    getOwnPropertyDescriptor: (_, property) => {
      const own = Reflect.getOwnPropertyDescriptor(repository, property)
      if (!own) return undefined
      const shown = 'value' in own ? { ...own, value: get(property) } : own
      return { ...shown, configurable: true }
    },
    preventExtensions: () => false,
  })
  return front
}

/** The methods that `read` or `write` names, in the long form. */
function* named<Plan>(
  option: 'read' | 'write',
  methods: unknown,
  repository: object,
  keys: readonly string[],
): Iterable<[string | symbol, Plan]> {
  if (methods === undefined) return
  const isShort = Array.isArray(methods)
  if (!isShort && !isPlainObject(methods)) {
    throw wrong(option, methods, 'an array of methods’ names, or an object by them, would do')
  }
  const plans = methods as Record<string | symbol, unknown>
  for (const name of isShort ? methods : Reflect.ownKeys(plans)) {
    if (typeof name !== 'string' && typeof name !== 'symbol') {
      throw wrong(option, name, 'a method’s name would do')
    }
    const path = `${option}.${String(name)}`
    checkMethod(path, repository, name)
    const plan = isShort ? { id: (first: unknown) => first } : plans[name]
    if (plan === undefined) continue
    if (!isPlainObject(plan)) throw wrong(path, plan, `an object with ${keys.join(', ')} would do`)
    checkKeys(`${path}.`, plan, keys)
    for (const [key, value] of Object.entries(plan)) {
      if (value !== undefined && typeof value !== 'function') {
        throw wrong(`${path}.${key}`, value, 'a function would do')
      }
    }
    yield [name, plan as Plan]
  }
}

/** Looks at the property without reading it: a getter would run. */
function checkMethod(option: string, repository: object, name: string | symbol): void {
  let holder: object | null = repository
  let found: PropertyDescriptor | undefined
  while (holder !== null && !found) {
    found = Reflect.getOwnPropertyDescriptor(holder, name)
    holder = Reflect.getPrototypeOf(holder)
  }
  if (!found) throw unfit(option, 'is not in the repository; the name of a method would do')
  if (found.get || found.set) throw unfit(option, 'is a getter or setter; a method would do')
  if (typeof found.value !== 'function') throw wrong(option, found.value, 'a method would do')
}

function checkKeys(path: string, options: object, known: readonly string[]): void {
  for (const [key, value] of Object.entries(options)) {
    if (!known.includes(key)) {
      throw wrong(`${path}${key}`, value, `one of ${known.join(', ')} would do`)
    }
  }
}

function checkRead(option: string, { id, ids }: Read): void {
  if (!id === !ids) throw unfit(option, `has ${id ? 'both' : 'no'} id and ids; one would do`)
}

function checkWrite(option: string, { id, run, options }: Write): void {
  if (!id && !run) throw unfit(option, 'has neither id nor run; at least one would do')
  if (options && !run) throw unfit(`${option}.options`, 'goes with a run, and there is none')
}

function unfit(option: string, why: string): LockstepError {
  return new LockstepError('OPTION_INVALID', `option "${option}" ${why}`)
}
