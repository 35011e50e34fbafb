import type { Clock } from '../model/clock.ts'
import { LockstepError, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'
import { withoutCommand } from './refusal.ts'

/** What it takes of ioredis. */
export interface ClaimConnection {
  set(key: string, value: string, ...how: ['PX', number, 'NX']): Promise<unknown>
  get(key: string): Promise<string | null>
  pexpire(key: string, ms: number): Promise<unknown>
}

const lapseMs = 30_000
const renewMs = 10_000
const renewDeadlineMs = 2_000
/** A claim may lapse between two commands; that it does so again and again is no chance. */
const mostTries = 3

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
  readonly #closing = new AbortController()
  #cancel: (() => void) | undefined
  /** A client of the user's own may keep commands for as long as Redis is down: one question, not many. */
  #asked: Promise<boolean> | undefined

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

  /** Throws `NAMESPACE_TAKEN`; a Redis that hasn't answered in time is asked again later. */
  async start(deadlineMs: number): Promise<void> {
    try {
      if (await this.#ask(deadlineMs)) {
        throw new LockstepError(
          'NAMESPACE_TAKEN',
          'instances with another database use this namespace in this Redis; give it another namespace, or stop them and wait 30 s',
        )
      }
    } catch (error) {
      if (error instanceof LockstepError) throw error
      this.#log.debug({ err: withoutCommand(error) }, 'the namespace cannot be claimed now')
    }
    this.#renewLater()
  }

  close(): void {
    this.#closing.abort(new Error('closed'))
    this.#cancel?.()
  }

  #renewLater(): void {
    if (this.#closing.signal.aborted) return
    this.#cancel = this.#clock.after(renewMs, () => {
      void this.#renew().then(() => this.#renewLater())
    })
  }

  async #renew(): Promise<void> {
    try {
      if (await this.#ask(renewDeadlineMs)) {
        this.#log.error({}, 'instances with another database use this namespace in this Redis')
      }
    } catch (error) {
      this.#log.debug(
        { reason: messageOf(error) },
        'the claim of the namespace cannot be renewed now',
      )
    }
  }

  #ask(deadlineMs: number): Promise<boolean> {
    const late = unanswered(Math.round(deadlineMs))
    return withDeadline(deadlineMs, late, this.#closing.signal, this.#clock, () => {
      this.#asked ??= this.#isAnothers().finally(() => {
        this.#asked = undefined
      })
      return this.#asked
    })
  }

  async #isAnothers(): Promise<boolean> {
    for (let tries = 0; tries < mostTries && !this.#closing.signal.aborted; tries++) {
      const made = await this.#connection.set(this.#key, this.#database, 'PX', lapseMs, 'NX')
      if (made !== null) return false
      const owner = await this.#connection.get(this.#key)
      if (owner !== null && owner !== this.#database) return true
      if (owner !== null && (await this.#connection.pexpire(this.#key, lapseMs)) === 1) return false
    }
    throw new Error('the claim lapses between two commands')
  }
}
