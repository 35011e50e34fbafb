/**
 * Measures the hops at their ports: what each call to Redis, PostgreSQL and Kafka took, and which had
 * no answer. The places themselves know nothing of it.
 */
import type { Log } from '../model/bus-ports.ts'
import type { Clock } from '../model/clock.ts'
import type { L2 } from '../model/l2-port.ts'
import type { Destination, Outbox } from '../model/outbox-port.ts'
import type { Replicas, Source, Transaction } from '../model/source-port.ts'
import { count, type Tally } from './counters.ts'

/** The calls that are measured: not `filled`, which waits for others, nor `renew`, `release` and barriers, which nobody waits for. */
export const hopOperations = {
  l2: ['lookup', 'acquire', 'fill', 'invalidate'],
  source: [
    'load',
    'replica',
    'begin',
    'record',
    'commit',
    'poll',
    'notify',
    'mark',
    'claim',
    'lead',
    'progress',
    'page',
    'prune',
  ],
  bus: ['publish'],
} as const

export type Hop = keyof typeof hopOperations
type Operation<H extends Hop> = (typeof hopOperations)[H][number]

export interface HopWatchOptions {
  readonly clock: Clock
  /** Called for each call that was answered. */
  readonly answered: (hop: Hop, operation: string, seconds: number) => void
}

export class HopWatch {
  readonly #options: HopWatchOptions
  /** Calls without an answer, by operation. */
  readonly failures: Readonly<Record<Hop, Tally>> = {
    l2: new Map(),
    source: new Map(),
    bus: new Map(),
  }
  /** Calls that were answered. */
  readonly answers: Record<Hop, number> = { l2: 0, source: 0, bus: 0 }
  /** What the loads took, answered or not, by entity. */
  readonly loadSeconds: Tally = new Map()
  /** Rows that were relayed here, by destination. */
  readonly relayedRows: Tally<Destination> = new Map()
  prunedRows = 0

  constructor(options: HopWatchOptions) {
    this.#options = options
  }

  l2(l2: L2): L2 {
    const run = <T>(operation: Operation<'l2'>, call: () => Promise<readonly T[]>) =>
      this.#run('l2', operation, call, (answers) => answers.some(isUnavailable))
    return {
      lookup: (...args) => run('lookup', () => l2.lookup(...args)),
      acquire: (entity, ids, options) => run('acquire', () => l2.acquire(entity, ids, options)),
      fill: (entity, fills) => run('fill', () => l2.fill(entity, fills)),
      renew: (...args) => l2.renew(...args),
      release: (entity, leases) => l2.release(entity, leases),
      filled: (...args) => l2.filled(...args),
      barrier: (snapshot) => l2.barrier(snapshot),
      restore: (...args) => l2.restore(...args),
      invalidate: (...args) =>
        this.#run('l2', 'invalidate', () => l2.invalidate(...args), isUnavailable),
    }
  }

  source<Tx>(source: Source<Tx>): Source<Tx> {
    return {
      replicas: source.replicas && this.#replicas(source.replicas),
      load: async (entity, ids, signal) => {
        const sentAtMs = this.#options.clock.monotonicMs()
        try {
          return await this.#run('source', 'load', () => source.load(entity, ids, signal))
        } finally {
          count(this.loadSeconds, entity.name, this.#secondsSince(sentAtMs))
        }
      },
      begin: async (signal) =>
        this.#transaction(await this.#run('source', 'begin', () => source.begin(signal))),
      join: (tx) => {
        const transaction = source.join(tx)
        // Its COMMIT takes what its caller takes.
        return { ...this.#transaction(transaction), commit: () => transaction.commit() }
      },
      isRetryable: (error) => source.isRetryable(error),
    }
  }

  /** Of a log what is published to it. */
  bus(log: Pick<Log, 'publish'>): Pick<Log, 'publish'> {
    return {
      publish: (...args) => this.#run('bus', 'publish', () => log.publish(...args)),
    }
  }

  outbox(outbox: Outbox): Outbox {
    const run = <T>(operation: Operation<'source'>, call: () => Promise<T>) =>
      this.#run('source', operation, call)
    return {
      poll: (since, signal) => run('poll', () => outbox.poll(since, signal)),
      probe: (signal) => run('poll', () => outbox.probe(signal)),
      listen: (wake) => outbox.listen(wake),
      notify: (signal) => run('notify', () => outbox.notify(signal)),
      mark: (rowIds, told, signal) => run('mark', () => outbox.mark(rowIds, told, signal)),
      claim: async (destination, minAgeMs, tell, signal) => {
        const rows = await run('claim', () => outbox.claim(destination, minAgeMs, tell, signal))
        count(this.relayedRows, destination, rows)
        return rows
      },
      prune: async (retentionMs, signal) => {
        const rows = await run('prune', () => outbox.prune(retentionMs, signal))
        this.prunedRows += rows
        return rows
      },
      lead: (instance, signal) => run('lead', () => outbox.lead(instance, signal)),
      resign: (instance) => outbox.resign(instance),
      progress: (asked, signal) => run('progress', () => outbox.progress(asked, signal)),
      page: (since, until, after, signal) =>
        run('page', () => outbox.page(since, until, after, signal)),
      repeated: (upTo, signal) => run('mark', () => outbox.repeated(upTo, signal)),
    }
  }

  /** `undefined`, none could be asked, is an answer: the primary is asked next. */
  #replicas(replicas: Replicas): Replicas {
    return {
      get isReady() {
        return replicas.isReady
      },
      load: (entity, ids, least, signal) =>
        this.#run('source', 'replica', () => replicas.load(entity, ids, least, signal)),
    }
  }

  #transaction<Tx>(transaction: Transaction<Tx>): Transaction<Tx> {
    return {
      handle: transaction.handle,
      failureOf: (error) => transaction.failureOf?.(error) ?? error,
      record: (keys) => this.#run('source', 'record', () => transaction.record(keys)),
      commit: () => this.#run('source', 'commit', () => transaction.commit()),
      rollback: () => transaction.rollback(),
    }
  }

  async #run<H extends Hop, T>(
    hop: H,
    operation: Operation<H>,
    call: () => Promise<T>,
    hasFailed: (answer: T) => boolean = () => false,
  ): Promise<T> {
    const sentAtMs = this.#options.clock.monotonicMs()
    try {
      const answer = await call()
      if (hasFailed(answer)) count(this.failures[hop], operation)
      else {
        this.answers[hop]++
        this.#options.answered(hop, operation, this.#secondsSince(sentAtMs))
      }
      return answer
    } catch (error) {
      count(this.failures[hop], operation)
      throw error
    }
  }

  #secondsSince(atMs: number): number {
    return (this.#options.clock.monotonicMs() - atMs) / 1_000
  }
}

/** Of any port's answer: L2 could not be asked. */
function isUnavailable(answer: unknown): boolean {
  return answer === 'unavailable' || (answer as { kind?: unknown }).kind === 'unavailable'
}
