import type { Clock } from '../model/clock.ts'
import { LockstepError, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'

/** What it takes of ioredis. */
export interface ClaimConnection {
  set(key: string, value: string, ...how: ['PX', number, 'NX']): Promise<unknown>
  get(key: string): Promise<string | null>
  pexpire(key: string, ms: number): Promise<unknown>
}

const lapseMs = 30_000
const renewMs = 10_000

/**
 * Says which database a namespace belongs to: the instances of two databases would drop each other's
 * values, and tell each other of ids that mean something else. A claim lapses 30 s after its last
 * instance has ended, so that a namespace can move to another database.
 */
export class NamespaceClaim {
  readonly #connection: ClaimConnection
  readonly #key: string
  readonly #database: string
  readonly #clock: Clock
  readonly #log: Logger
  #cancel: (() => void) | undefined
  #isClosed = false

  constructor(
    connection: ClaimConnection,
    key: string,
    database: string,
    clock: Clock,
    log: Logger,
  ) {
    this.#connection = connection
    this.#key = key
    this.#database = database
    this.#clock = clock
    this.#log = log
  }

  /** Throws `NAMESPACE_TAKEN`; a Redis that can't be reached is asked again later. */
  async start(): Promise<void> {
    try {
      if (await this.#isAnothers()) {
        throw new LockstepError(
          'NAMESPACE_TAKEN',
          'instances with another database use this namespace in this Redis; give it another namespace, or stop them and wait 30 s',
        )
      }
    } catch (error) {
      if (error instanceof LockstepError) throw error
      this.#log.debug({ err: error }, 'the namespace cannot be claimed now')
    }
    this.#renewLater()
  }

  close(): void {
    this.#isClosed = true
    this.#cancel?.()
  }

  #renewLater(): void {
    if (this.#isClosed) return
    this.#cancel = this.#clock.after(renewMs, () => {
      void this.#renew().then(() => this.#renewLater())
    })
  }

  async #renew(): Promise<void> {
    try {
      if (await this.#isAnothers()) {
        this.#log.error({}, 'instances with another database use this namespace in this Redis')
      }
    } catch (error) {
      this.#log.debug(
        { reason: messageOf(error) },
        'the claim of the namespace cannot be renewed now',
      )
    }
  }

  async #isAnothers(): Promise<boolean> {
    const made = await this.#connection.set(this.#key, this.#database, 'PX', lapseMs, 'NX')
    if (made !== null) return false
    const owner = await this.#connection.get(this.#key)
    if (owner !== null && owner !== this.#database) return true
    await this.#connection.pexpire(this.#key, lapseMs)
    return false
  }
}
