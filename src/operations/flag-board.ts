/**
 * Where flags are set, unset and looked at: PostgreSQL keeps them, Redis mirrors them and tells the
 * instances to look. While PostgreSQL has no answer they are set in Redis alone, which is what the
 * worst night is for, and last until it has one again.
 */
import type { Clock } from '../model/clock.ts'
import { LockstepError } from '../model/errors.ts'
import type { FlagMirror, FlagStore } from '../model/flag-ports.ts'
import {
  environmentMark,
  type FlagChange,
  type FlagName,
  type FlagReport,
  type FlagScope,
  type FlagSetter,
  type FlagState,
  flagKey,
  isFlagName,
  type KeptFlag,
  type PastFlagChange,
} from '../model/flags.ts'
import type { Logger } from '../model/log.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'

export interface FlagBoardOptions {
  readonly store: FlagStore
  /** `undefined`: there is no Redis. */
  readonly mirror: FlagMirror | undefined
  readonly clock: Clock
  readonly log: Logger
}

/** A flag as it is shown. */
export interface FlagInfo extends FlagScope {
  readonly flag: FlagName
  readonly reason: string
  readonly author: string
  readonly by: FlagSetter
  /** Who was asked: `redis` while PostgreSQL can't be; `environment` is known to one process. */
  readonly from: 'postgres' | 'redis' | 'environment'
  /** `undefined`: since its process began. */
  readonly setAt: Date | undefined
  /** When it ends by itself; `undefined`: with its process. */
  readonly until: Date | undefined
  /** Instances that say that they apply it; none are known while PostgreSQL can't be asked. */
  readonly appliedBy: readonly string[]
}

/** One line of the history. */
export interface FlagHistoryEntry extends FlagScope {
  readonly flag: FlagName
  readonly kind: 'set' | 'unset'
  readonly reason: string
  readonly author: string
  readonly by: FlagSetter
  readonly at: Date
  /** When it was to end; `undefined`: it was unset. */
  readonly until: Date | undefined
}

export interface FlagsChanged {
  /** `redis`: PostgreSQL could not be asked, and it lasts until that can be. */
  readonly keptIn: 'postgres' | 'redis'
}

/** Of one call to either place. */
const callDeadlineMs = 1_000
export const mostHistory = 1_000

export class FlagBoard {
  readonly #options: FlagBoardOptions

  constructor(options: FlagBoardOptions) {
    this.#options = options
  }

  /** All of them or none. Rejects with `OPTION_INVALID`, or when nobody has an answer. */
  async change(changes: readonly FlagChange[]): Promise<FlagsChanged> {
    const { store, mirror, log } = this.#options
    let state: FlagState
    try {
      state = await this.#inTime('PostgreSQL', (signal) => store.change(changes, signal))
    } catch (error) {
      if (!mirror || isAnswer(error)) throw error
      await this.#changeMirror(mirror, changes, error)
      return { keptIn: 'redis' }
    }
    await this.mirrored(state)
    await this.#inTime('Redis', async (signal) => mirror?.announce(signal)).catch(
      (error: unknown) =>
        log.debug({ err: error }, 'the instances look at the flags a little later'),
    )
    return { keptIn: 'postgres' }
  }

  /** Never rejects: whoever looks next does it again. */
  async mirrored(state: FlagState): Promise<void> {
    const { mirror, log } = this.#options
    await this.#inTime('Redis', async (signal) => mirror?.keep(state, signal)).catch(
      (error: unknown) => log.debug({ err: error }, 'the flags cannot be mirrored now'),
    )
  }

  /** What is set, wherever it is known; `undefined`: nobody has an answer. */
  async known(): Promise<
    { readonly state: FlagState; readonly from: 'postgres' | 'redis' } | undefined
  > {
    const { store, mirror, log } = this.#options
    try {
      return {
        state: await this.#inTime('PostgreSQL', (signal) => store.read(signal)),
        from: 'postgres',
      }
    } catch (error) {
      log.debug({ err: error }, 'PostgreSQL has no flags to tell')
    }
    try {
      const state = await this.#inTime('Redis', async (signal) => mirror?.read(signal))
      return state && { state, from: 'redis' }
    } catch (error) {
      log.debug({ err: error }, 'Redis has no flags to tell')
      return undefined
    }
  }

  /** Of all instances. Rejects with `SOURCE_UNAVAILABLE` when nobody has an answer. */
  async list(): Promise<readonly FlagInfo[]> {
    const { store } = this.#options
    const known = await this.known()
    if (!known)
      throw new LockstepError(
        'SOURCE_UNAVAILABLE',
        'neither PostgreSQL nor Redis can say which flags are set',
      )
    const { state, from } = known
    const reports = await this.#inTime('PostgreSQL', (signal) => store.reports(signal)).catch(
      () => [],
    )
    const kept = state.flags.map((flag) => infoOf(flag, from, reports))
    return [...kept, ...overridesIn(reports)]
  }

  /** The newest first. */
  async history(limit: number): Promise<readonly FlagHistoryEntry[]> {
    const { store } = this.#options
    const past = await this.#inTime('PostgreSQL', (signal) => store.history(limit, signal))
    return past.map(entryOf)
  }

  /** Never rejects. */
  async report(report: FlagReport): Promise<void> {
    const { store, log } = this.#options
    await this.#inTime('PostgreSQL', (signal) => store.report(report, signal)).catch(
      (error: unknown) => log.debug({ err: error }, 'nobody knows which flags apply here'),
    )
  }

  async #changeMirror(
    mirror: FlagMirror,
    changes: readonly FlagChange[],
    cause: unknown,
  ): Promise<void> {
    const { log } = this.#options
    try {
      await this.#inTime('Redis', (signal) => mirror.change(changes, signal))
    } catch (error) {
      throw isAnswer(error) ? error : cause
    }
    log.warn({ err: cause }, 'PostgreSQL has no answer: flags are changed in Redis alone')
    await this.#inTime('Redis', (signal) => mirror.announce(signal)).catch(() => {})
  }

  #inTime<T>(who: string, call: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { clock } = this.#options
    const late = unanswered(callDeadlineMs, who)
    return withDeadline(callDeadlineMs, late, undefined, clock, call)
  }
}

/**
 * It was answered, with a no. So it is by a PostgreSQL that takes no writes: it can be asked, and what is
 * set in Redis alone would go at once.
 */
function isAnswer(error: unknown): boolean {
  return error instanceof LockstepError && (!error.retryable || error.code === 'SOURCE_READONLY')
}

function infoOf(kept: KeptFlag, from: FlagInfo['from'], reports: readonly FlagReport[]): FlagInfo {
  const { flag, reason, author, by, setAtMs, untilMs } = kept
  const key = flagKey(kept)
  return {
    flag,
    ...scopeOf(kept),
    reason,
    author,
    by,
    from,
    setAt: new Date(setAtMs),
    until: new Date(untilMs),
    appliedBy: reports
      .filter(({ applied }) => applied.includes(key))
      .map(({ instance }) => instance),
  }
}

/** What single processes have by their environment. */
function overridesIn(reports: readonly FlagReport[]): readonly FlagInfo[] {
  return reports.flatMap(({ instance, applied }) =>
    applied
      .filter((key) => key.startsWith(environmentMark))
      .map((key) => key.slice(environmentMark.length))
      .filter(isFlagName)
      .map((flag) => overrideInfo(flag, instance)),
  )
}

export function overrideInfo(flag: FlagName, instance: string): FlagInfo {
  const words = { reason: 'its options or LOCKSTEP_FLAGS', author: 'environment' } as const
  const times = { setAt: undefined, until: undefined }
  const by = 'environment'
  return { flag, instance, ...words, by, from: by, ...times, appliedBy: [instance] }
}

function entryOf({ atMs, untilMs, flag, kind, reason, author, by, ...scope }: PastFlagChange) {
  const until = untilMs === undefined ? undefined : new Date(untilMs)
  return { flag, kind, ...scopeOf(scope), reason, author, by, at: new Date(atMs), until }
}

function scopeOf({ entity, instance }: FlagScope): FlagScope {
  return {
    ...(entity === undefined ? {} : { entity }),
    ...(instance === undefined ? {} : { instance }),
  }
}
