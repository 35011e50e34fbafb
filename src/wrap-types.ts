/** The types of `wrapRepository`, derived from the repository and from the entity. */
import type { Tx } from './postgres/pool.ts'
import type { ReadOptions, WriteOptions } from './types.ts'

type Args<Method> = Method extends (...args: infer A) => unknown ? A : never
type Result<Method> = Method extends (...args: never) => infer R ? Awaited<R> : never

/** Public methods that may return a promise: what stands in for them does. */
type Names<Repository> = {
  [K in keyof Repository]-?: Repository[K] extends (...args: never) => infer R
    ? Promise<Awaited<R>> extends R
      ? K
      : never
    : never
}[keyof Repository]

interface ReadPart<Method> {
  /** Ticket, consistency, signal, timeout of this read. */
  options?: (...args: Args<Method>) => ReadOptions | undefined
}

type ResultOf<Answered, Method> = (answered: Answered, ...args: Args<Method>) => Result<Method>

/** Required where the method's result is not what the cache answers anyway. */
type Answer<Answered, Method> = [Answered] extends [Result<Method>]
  ? { result?: ResultOf<Answered, Method> }
  : { result: ResultOf<Answered, Method> }

/**
 * A read that the cache answers; the method itself is not called any more.
 *
 * - `id`: the id that the arguments ask for, answered by `get`; or `ids`, answered by `getMany`.
 * - `result`: makes what the method returned of what the cache has (of `undefined` for an id that
 *   doesn't exist, of a Map for `ids`). What it throws comes out of the call.
 */
export type WrappedRead<Method, Id, Value> = ReadPart<Method> &
  (
    | ({ id: (...args: Args<Method>) => Id; ids?: undefined } & Answer<Value | undefined, Method>)
    | ({ ids: (...args: Args<Method>) => Iterable<Id>; id?: undefined } & Answer<
        Map<Id, Value>,
        Method
      >)
  )

/** A method without a result may leave that of its last statement. */
type Ran<Method> =
  Promise<Result<Method>> extends Promise<void>
    ? unknown
    : PromiseLike<Result<Method>> | Result<Method>

interface RunPart<Method> {
  /** The write itself. It may run again after a retryable error before COMMIT, never after it. */
  run: (tx: Tx, ...args: Args<Method>) => Ran<Method>
  /** Deadline, retries, signal of this write. */
  options?: (...args: Args<Method>) => WriteOptions | undefined
}

/** Without an `id` the ids are those of the rows that `run` returns. */
type WithoutId<Method, Value> = [Result<Method>] extends [Value | readonly Value[]]
  ? { id?: undefined } & RunPart<Method>
  : never

/**
 * A write that the cache is told of.
 *
 * - With `run`: what `cache.<entity>.write` promises, and `run` in place of the method.
 * - Without: the method, and then `cache.<entity>.invalidate`. Weaker: see `wrapRepository`.
 */
export type WrappedWrite<Method, Id, Value> =
  | { id: (...args: Args<Method>) => Id; run?: undefined; options?: undefined }
  | ({ id: (...args: Args<Method>) => Id } & RunPart<Method>)
  | WithoutId<Method, Value>

/** Reads whose one argument is the id, and whose result is what the cache answers. */
type ShortReads<Repository, Id, Value> = {
  [K in Names<Repository>]: Args<Repository[K]> extends [infer Only]
    ? [Only, Value | undefined] extends [Id, Result<Repository[K]>]
      ? K
      : never
    : never
}[Names<Repository>]

/** Writes whose first argument is the id. */
type ShortWrites<Repository, Id> = {
  [K in Names<Repository>]: Args<Repository[K]> extends [infer First, ...unknown[]]
    ? [First] extends [Id]
      ? K
      : never
    : never
}[Names<Repository>]

/** What a write of a wrapped repository leaves beside its result. */
export interface Written {
  readonly method: string | symbol
  /** Give it to a later read, on any instance, and that read can't miss this write. */
  readonly ticket: string
  /** Redis was told before the call returned (with `run`: before the COMMIT, too). */
  readonly fenced: boolean
}

/** An array, as far as its type goes: its own methods would join the contextual types of `find` or `at`. */
interface List<One> {
  readonly [index: number]: One
  [Symbol.iterator](): Iterator<One>
}

export interface WrapOptions<Repository, Id, Value> {
  /** Reads that the cache answers; as names where the one argument is the id. */
  read?:
    | List<ShortReads<Repository, Id, Value>>
    | { [K in Names<Repository>]?: WrappedRead<Repository[K], Id, Value> }
  /** Writes that the cache is told of; as names where the first argument is the id and there is no `run`. */
  write?:
    | List<ShortWrites<Repository, Id>>
    | { [K in Names<Repository>]?: WrappedWrite<Repository[K], Id, Value> }
  /**
   * Called after each write, in its async context, before its call returns: the place to keep the
   * ticket. What it throws comes out of the call, although the write has been done.
   */
  onWrite?: (written: Written) => PromiseLike<void> | void
}
