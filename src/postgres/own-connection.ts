/**
 * A connection that one thing has to itself, opened when it is first asked for and again after it
 * broke: what is proven by it must not wait behind the loads for a connection of the pool.
 */
import type { Client } from 'pg'
import { closeOnAbort } from './abort.ts'
import { type Pool, unavailable } from './pool.ts'

export class OwnConnection {
  readonly #pool: Pool
  readonly #opened: (connection: Client) => Promise<void>
  #connection: Client | undefined

  /** `opened`: what each new connection begins with. */
  constructor(pool: Pool, opened: (connection: Client) => Promise<void> = async () => {}) {
    this.#pool = pool
    this.#opened = opened
  }

  /** One call at a time. A call that fails closes the connection: nobody knows what state it is in. */
  async run<T>(signal: AbortSignal, call: (connection: Client) => Promise<T>): Promise<T> {
    let connection: Client | undefined
    let endWatch = (): void => {}
    try {
      signal.throwIfAborted()
      connection = this.#connection ?? (await this.#pool.connect())
      // Given up while it was being opened: somebody else may have opened the next one meanwhile.
      signal.throwIfAborted()
      endWatch = closeOnAbort(connection, signal)
      if (connection !== this.#connection) await this.#begin(connection)
      return await call(connection)
    } catch (error) {
      if (connection) this.#letGo(connection)
      throw unavailable(error)
    } finally {
      endWatch()
    }
  }

  close(): void {
    if (this.#connection) this.#letGo(this.#connection)
  }

  async #begin(connection: Client): Promise<void> {
    connection.on('end', () => this.#letGo(connection))
    this.#connection = connection
    await this.#opened(connection)
  }

  #letGo(connection: Client): void {
    if (this.#connection === connection) this.#connection = undefined
    connection.end().catch(() => {})
  }
}
