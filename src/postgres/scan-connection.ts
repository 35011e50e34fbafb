import type { Client } from 'pg'
import type { Clock } from '../model/clock.ts'
import type { ScanStart } from '../model/filter-ports.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'
import { OwnConnection } from './own-connection.ts'
import { stateOf, takeXid } from './own-xid.ts'
import type { Pool } from './pool.ts'

export const askDeadlineMs = 5_000

/** The connection that a scan has for itself, with a deadline for each thing that it is asked. */
export class ScanConnection {
  readonly #connection: OwnConnection
  readonly #clock: Clock

  constructor({ pool, clock }: { readonly pool: Pool; readonly clock: Clock }) {
    this.#connection = new OwnConnection(pool)
    this.#clock = clock
  }

  run<T>(ms: number, signal: AbortSignal, call: (connection: Client) => Promise<T>): Promise<T> {
    return withDeadline(ms, unanswered(ms, 'PostgreSQL'), signal, this.#clock, (inTime) =>
      this.#connection.run(inTime, call),
    )
  }

  xid(signal: AbortSignal): Promise<ScanStart> {
    return this.run(askDeadlineMs, signal, takeXid)
  }

  stateOf(start: ScanStart, signal: AbortSignal): Promise<'ended' | 'open' | 'outlived'> {
    return this.run(askDeadlineMs, signal, (connection) => stateOf(connection, start))
  }

  close(): void {
    this.#connection.close()
  }
}
