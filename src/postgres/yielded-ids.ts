/** The ids that a generator of the user's yields. It can't go on where it was left. */
import type { Client } from 'pg'
import type { Clock } from '../model/clock.ts'
import type { AnyEntity, LoadContext } from '../model/entity.ts'
import type { IdPage, IdScan, ScanStart } from '../model/filter-ports.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'
import { closeOnAbort } from './abort.ts'
import { OwnConnection } from './own-connection.ts'
import { stateOf, takeXid } from './own-xid.ts'
import type { Pool } from './pool.ts'

const idsAPage = 20_000
/** A page of a slow generator ends after this, with fewer. */
const pageMs = 5_000
/** What a page may take that waits for one step of the generator. */
const pageDeadlineMs = 60_000
const askDeadlineMs = 5_000
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
  readonly #connection: OwnConnection

  constructor(options: YieldedIdsOptions) {
    this.#options = options
    this.#connection = new OwnConnection(options.pool)
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
    return this.#ask(signal, takeXid)
  }

  stateOf(start: ScanStart, signal: AbortSignal): Promise<'ended' | 'open' | 'outlived'> {
    return this.#ask(signal, (connection) => stateOf(connection, start))
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

  #ask<T>(signal: AbortSignal, call: (connection: Client) => Promise<T>): Promise<T> {
    const late = unanswered(askDeadlineMs, 'PostgreSQL')
    return withDeadline(askDeadlineMs, late, signal, this.#options.clock, (inTime) =>
      this.#connection.run(inTime, call),
    )
  }
}
