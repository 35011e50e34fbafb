/**
 * What a cache tells its process (`cache.on`). Few, and none per hit: what happens often is counted
 * (`catalogue.ts`). An event that nobody listens to is not built.
 */
import { wrong } from '../model/entity.ts'
import { LockstepError, messageOf } from '../model/errors.ts'
import type { FlagName, FlagScope, FlagSetter } from '../model/flags.ts'
import type { FillAnswer } from '../model/l2-port.ts'
import type { Logger } from '../model/log.ts'
import type { Ticket } from '../model/ticket.ts'

/**
 * Why L1 is not served: another incarnation of the database; rows of the outbox that may have been
 * removed unread; more new rows than one poll returns; no proof for longer than the staleness bound;
 * `close()`.
 */
export type TrustLoss =
  | 'incarnation'
  | 'pruned'
  | 'too-many-rows'
  | 'gap'
  | 'rebalance'
  | 'disconnected'
  | 'partitions'
  | 'unreadable'
  | 'expired'
  | 'closed'

export type TrustChange =
  | { readonly state: 'gained' }
  | { readonly state: 'lost'; readonly reason: TrustLoss }

/** What became of the Bloom filter of an entity. */
export interface BloomNews {
  readonly entity: string
  readonly state: 'building' | 'ready' | 'failed' | 'lost'
  /** `building`: why. */
  readonly reason?: 'none' | 'requested' | 'outlived' | 'left' | 'saturated' | undefined
  /** `ready`, `lost`: which. */
  readonly generation?: number
  /** `ready`: how many ids were scanned. */
  readonly ids?: number
  /** `failed`. */
  readonly error?: unknown
}

export interface CacheEvents {
  trust: TrustChange
  breaker: {
    readonly hop: 'l2' | 'source' | 'bus'
    /** `half-open`: some calls are let through. */
    readonly state: 'closed' | 'open' | 'half-open'
    /** What opened it last: calls of this process, or what Prometheus says of those of all instances. */
    readonly reason: 'local' | 'fleet'
    /** On a cluster: host and port of the node. */
    readonly node?: string
  }
  relay: {
    readonly state: 'begun' | 'ended'
  }
  flag: {
    readonly flag: FlagName
    readonly state: 'set' | 'unset' | 'expired'
    readonly scope: FlagScope
    readonly reason: string
    readonly author: string
    readonly by: FlagSetter
  }
  invalidated: {
    readonly entity: string
    /** As text. */
    readonly ids: readonly string[]
    readonly xid: number
    /** A read with it can't miss this write. */
    readonly ticket: Ticket
  }
  'fill-refused': {
    readonly entity: string
    /** As text. */
    readonly id: string
    readonly reason: Exclude<FillAnswer, 'filled' | 'unavailable'>
  }
  'load-failed': {
    readonly entity: string
    /** As the loader was given them. */
    readonly ids: readonly unknown[]
    readonly error: unknown
  }
  bloom: BloomNews
  'key-space': {
    readonly entity: string
    /** `maxNewKeysPerMinute`. */
    readonly limit: number
  }
  'hot-key': {
    readonly entity: string
    /** As text. */
    readonly id: string
    /** Over all instances. */
    readonly readsPerSecond: number
    readonly state: 'hot' | 'cooled'
  }
}

export type EventName = keyof CacheEvents
export type Listener<Name extends EventName> = (event: CacheEvents[Name]) => unknown

/** For docs/metrics.md: when each comes, and what it says. */
export const eventCatalogue: Readonly<
  Record<EventName, { readonly fields: readonly string[]; readonly help: string }>
> = {
  trust: {
    fields: ['state', 'reason'],
    help: 'L1 may no longer be served (`lost`, with the reason), or may be again (`gained`). At the start it is already. `incarnation`: the database crashed or failed over; `pruned`: this process heard nothing for longer than the outbox remembers; `too-many-rows`: more new writes than one poll returns; `expired`: no proof for longer than `timing.stalenessBound`; `closed`: `close()`. After all but `expired` L1 is empty.',
  },
  breaker: {
    fields: ['hop', 'state', 'reason', 'node'],
    help: 'The circuit breaker of Redis (hop `l2`, on a cluster with the `node`), PostgreSQL (`source`) or Kafka (`bus`) changed its state: `open` (it is not asked), `half-open` (some calls are let through), `closed` (all is well). `local`: calls of this process failed; `fleet`: Prometheus says that those of all instances do.',
  },
  relay: {
    fields: ['state'],
    help: 'This instance tells Redis and Kafka of what writers could not tell them from now on (`begun`), or no longer does (`ended`): one instance of a namespace at a time. At the start it may have begun already.',
  },
  flag: {
    fields: ['flag', 'state', 'scope', 'reason', 'author', 'by'],
    help: 'This process applies a flag from now on (`set`, also when it was set anew), or no longer: somebody has `unset` it, or it has `expired`. `scope` has the entity and the instance that it is for, if it is not for all. `by`: `operator`, `slo` (a rule of the option `slo`) or `environment`. Of a flag that was set before the start, and of an override, none comes.',
  },
  invalidated: {
    fields: ['entity', 'ids', 'xid', 'ticket'],
    help: 'A write, by any instance, has committed: once in each process, as a rule within a poll (`timing.pollInterval`) of the COMMIT; one event for each entity and 1,000 ids. Also of entities that only other instances have. After a `trust` event with `pruned`, `too-many-rows` or `incarnation` some may have been missed.',
  },
  'fill-refused': {
    fields: ['entity', 'id', 'reason'],
    help: 'Redis did not keep a loaded value: a write or an eviction came in between (`nonce-changed`), the value does not see a write (`tombstone`), or what lies there sees more (`not-covered`). The reader got its value; now and then this is normal.',
  },
  'load-failed': {
    fields: ['entity', 'ids', 'error'],
    help: 'A load failed, its retries included. Readers that wait for it get `error`.',
  },
  bloom: {
    fields: ['entity', 'state', 'reason', 'generation', 'ids', 'error'],
    help: 'The Bloom filter of an entity (docs/bloom.md) is `building` in this process (with the `reason`: there was `none`, it was `requested`, it was `outlived` by what Redis forgot or by a new life of the database, a build had been `left`, it was `saturated`), was made `ready` by it (`generation`, `ids`: how many were scanned), could not be built and will be tried again (`failed`, with the `error`), or lies in Redis no more (`lost`). Without one that answers every id is "maybe".',
  },
  'key-space': {
    fields: ['entity', 'limit'],
    help: 'More keys came up in a minute than may be cached anew (`maxNewKeysPerMinute`): somebody may be making up ids. Once a minute; until it is over, others are loaded and answered, and cached nowhere.',
  },
  'hot-key': {
    fields: ['entity', 'id', 'readsPerSecond', 'state'],
    help: 'All instances together read an id more often than `hotKeys.threshold` (`hot`): it is kept in L1 from now on; or less than half as often (`cooled`), or others are far hotter. In every process that hears of it, at most 100 a second.',
  },
}

/** More are a leak: who subscribes in a request and never unsubscribes. */
export const mostListeners = 100

export class Events {
  readonly #listeners = new Map<EventName, Set<{ readonly call: Listener<never> }>>()
  readonly #log: Logger
  #isClosed = false

  constructor(log: Logger) {
    this.#log = log
  }

  /** Returns how to unsubscribe. Throws `OPTION_INVALID`, `CLOSED`. */
  on<Name extends EventName>(name: Name, listener: Listener<Name>): () => void {
    if (this.#isClosed) throw new LockstepError('CLOSED', 'the cache is closed')
    if (!Object.hasOwn(eventCatalogue, name)) {
      throw wrong('event', name, `one of ${Object.keys(eventCatalogue).join(', ')} would do`)
    }
    if (typeof listener !== 'function') {
      throw wrong('listener', listener, 'a function (event) => … would do')
    }
    const known = this.#listeners.get(name) ?? new Set()
    if (known.size >= mostListeners) {
      throw wrong(
        'listener',
        `${mostListeners + 1}th of "${name}"`,
        `at most ${mostListeners} would do: call what on() returned once a listener has done its work`,
      )
    }
    // Its own object: the same function may listen twice, and is unsubscribed once each.
    const entry = { call: listener }
    this.#listeners.set(name, known.add(entry))
    return () => void known.delete(entry)
  }

  isHeard(name: EventName): boolean {
    return (this.#listeners.get(name)?.size ?? 0) > 0
  }

  /** A listener that throws or rejects is logged, and breaks nothing. */
  emit<Name extends EventName>(name: Name, event: () => CacheEvents[Name]): void {
    if (!this.isHeard(name)) return
    const told = event()
    for (const { call } of [...(this.#listeners.get(name) ?? [])]) {
      try {
        const ended = (call as Listener<Name>)(told)
        if (isThenable(ended)) ended.then(undefined, (error: unknown) => this.#failed(name, error))
      } catch (error) {
        this.#failed(name, error)
      }
    }
  }

  /** Lets go of all listeners. */
  close(): void {
    this.#isClosed = true
    for (const known of this.#listeners.values()) known.clear()
  }

  #failed(name: EventName, error: unknown): void {
    this.#log.error({ err: error, event: name }, `a listener failed: ${messageOf(error)}`)
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | undefined | null)?.then === 'function'
}
