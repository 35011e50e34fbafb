/** The ids that a generator of the user's yields. It can't go on where it was left. */
import type { Client } from 'pg'
import type { Clock } from '../model/clock.ts'
import type { AnyEntity, LoadContext } from '../model/entity.ts'
import { LockstepError } from '../model/errors.ts'
import type { IdPage, IdScan, ScanStart } from '../model/filter-ports.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'
import { closeOnAbort } from './abort.ts'
import type { Pool } from './pool.ts'
import { ScanConnection } from './scan-connection.ts'

const idsAPage = 20_000
/** A page of a slow generator ends after this, with fewer. */
const pageMs = 5_000
/** What a page may take that waits for one step of the generator. */
const pageDeadlineMs = 60_000
/** Times the capacity: repeats are allowed, and a capacity may be far too small; more has no end. */
const mostShare = 100
/** With whatever capacity. */
const leastMost = 1_000_000
/** How long a generator that is left early may take to end. */
const endDeadlineMs = 5_000

export interface YieldedIdsOptions {
  readonly pool: Pool
  readonly clock: Clock
  readonly entity: AnyEntity
  readonly ids: (context: LoadContext<never>) => AsyncIterable<unknown>
}

export class YieldedIds implements IdScan {
  readonly canResume = false
  readonly #options: YieldedIdsOptions
  readonly #connection: ScanConnection

  constructor(options: YieldedIdsOptions) {
    this.#options = options
    this.#connection = new ScanConnection(options)
  }

  async count(): Promise<undefined> {
    return undefined
  }

  async *pages(_cursor: string | undefined, signal: AbortSignal): AsyncGenerator<IdPage> {
    const { pool, ids } = this.#options
    const left = new AbortController()
    const ended = AbortSignal.any([signal, left.signal])
    const connection = await this.#connect(ended)
    const endWatch = closeOnAbort(connection, ended)
    const { db, turns } = pool.on(connection)
    let iterator: AsyncIterator<unknown> | undefined
    try {
      const own = ids({ db: db as never, signal: ended })[Symbol.asyncIterator]()
      iterator = own
      for (let scanned = 0; ; ) {
        const { some, isLast } = await this.#inTime(ended, () => this.#page(own, ended))
        scanned += some.length
        if (!isLast && scanned > this.#most) throw this.#endless()
        yield { ids: some, next: isLast ? undefined : String(scanned) }
        if (isLast) return
      }
    } finally {
      left.abort(new Error('nobody wants more ids'))
      if (iterator) await this.#end(iterator)
      endWatch()
      await turns.end()
      connection.end().catch(() => {})
    }
  }

  /** One that is open only when nobody waits for it any more is closed. */
  #connect(ended: AbortSignal): Promise<Client> {
    return this.#inTime(ended, async (inTime) => {
      const connection = await this.#options.pool.connect()
      if (inTime.aborted) connection.end().catch(() => {})
      return connection
    })
  }

  get #most(): number {
    const { capacity = leastMost } = this.#options.entity.bloom ?? {}
    return Math.max(leastMost, mostShare * capacity)
  }

  /** Nobody can tell from one that goes on for long, but for what it says that there is. */
  #endless(): LockstepError {
    const most = this.#most.toLocaleString('en')
    return new LockstepError(
      'OPTION_INVALID',
      `bloom.ids of entity "${this.#options.entity.name}" has yielded more than ${most} ids and not ended; up to ${mostShare} times bloom.capacity would do, and at least ${leastMost.toLocaleString('en')}`,
    )
  }

  async #page(
    iterator: AsyncIterator<unknown>,
    ended: AbortSignal,
  ): Promise<{ readonly some: readonly string[]; readonly isLast: boolean }> {
    const { clock, entity } = this.#options
    const untilMs = clock.monotonicMs() + pageMs
    const some: string[] = []
    while (some.length < idsAPage && !ended.aborted) {
      const { done, value } = await iterator.next()
      if (done) return { some, isLast: true }
      some.push(String(entity.keyOf(value)))
      if (clock.monotonicMs() > untilMs) break
    }
    return { some, isLast: false }
  }

  xid(signal: AbortSignal): Promise<ScanStart> {
    return this.#connection.xid(signal)
  }

  stateOf(start: ScanStart, signal: AbortSignal): Promise<'ended' | 'open' | 'outlived'> {
    return this.#connection.stateOf(start, signal)
  }

  rest(): void {
    this.#connection.close()
  }

  /** A generator that hangs must not keep the build from ending. */
  async #end(iterator: AsyncIterator<unknown>): Promise<void> {
    const { clock } = this.#options
    await withDeadline(endDeadlineMs, unanswered(endDeadlineMs), undefined, clock, async () => {
      await iterator.return?.()
    }).catch(() => {})
  }

  #inTime<T>(signal: AbortSignal, call: (inTime: AbortSignal) => Promise<T>): Promise<T> {
    const late = unanswered(pageDeadlineMs, `bloom.ids of entity "${this.#options.entity.name}"`)
    return withDeadline(pageDeadlineMs, late, signal, this.#options.clock, call)
  }
}
