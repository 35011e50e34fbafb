/**
 * The flags that this instance applies (DESIGN §9). It looks every two seconds, and at once when it is
 * told to over the fast plane; where PostgreSQL has no answer it looks into the mirror, and where that
 * has none what it knows goes on. Each flag ends by itself, by this process' clock, whoever can be
 * asked.
 */
import type { Clock } from '../model/clock.ts'
import type { FlagMirror, FlagStore } from '../model/flag-ports.ts'
import {
  environmentMark,
  type FlagChange,
  type FlagName,
  type FlagScope,
  type FlagSetter,
  type FlagState,
  flagKey,
  flagNames,
  type KeptFlag,
  noFlags,
  type Switches,
  switchesOf,
} from '../model/flags.ts'
import type { Logger } from '../model/log.ts'
import { sleep } from '../resilience/deadline.ts'
import type { CacheEvents } from '../telemetry/events.ts'
import { FlagBoard, type FlagInfo, overrideInfo } from './flag-board.ts'

type FlagEvent = CacheEvents['flag']

export interface FlagsOptions {
  /** `undefined`: flags come from the environment alone. */
  readonly store: FlagStore | undefined
  readonly mirror: FlagMirror | undefined
  readonly instance: string
  /** Names of the entities that this process has. */
  readonly entities: readonly string[]
  /** For all of this process, for as long as it runs. */
  readonly override: readonly FlagName[]
  readonly clock: Clock
  readonly log: Logger
  /** Whoever relays keeps the mirror. */
  readonly isRelaying: () => boolean
  readonly changed: (event: FlagEvent) => void
}

/** A flag that concerns this process. */
interface Applied extends Omit<KeptFlag, 'by' | 'leftMs'> {
  readonly by: FlagSetter
  readonly key: string
  readonly from: FlagInfo['from']
  /** On the monotonic clock. */
  readonly endsAtMs: number
}

const lookEveryMs = 2_000
/** Between two looks that somebody asked for. */
const leastPauseMs = 20
/** An instance that was forgotten and has joined again has to say it again. */
const reportEveryMs = 10_000
/** What is gone so soon before its end has ended: two clocks tell of it. */
const slackMs = 250

export class Flags {
  readonly #options: FlagsOptions
  readonly #board: FlagBoard | undefined
  readonly #closing = new AbortController()
  readonly #switches: ReadonlyMap<string, Record<FlagName, boolean>>
  #heard: readonly Applied[] = []
  /** Of rules, until they are kept elsewhere. */
  readonly #own = new Map<string, Applied>()
  #active: ReadonlyMap<string, Applied> = new Map()
  #revision = -1
  #nap = new AbortController()
  #ended: Promise<void> | undefined
  #cancelEnd: () => void = () => {}
  #reported = { keys: '', atMs: Number.NEGATIVE_INFINITY }

  constructor(options: FlagsOptions) {
    const { store, mirror, clock, log, entities } = options
    this.#options = options
    this.#board = store && new FlagBoard({ store, mirror, clock, log })
    this.#switches = new Map(entities.map((name) => [name, switchesOf([])]))
    mirror?.listen(() => this.look())
    this.#settle()
  }

  /** Where flags are set; `undefined`: nowhere. */
  get board(): FlagBoard | undefined {
    return this.#board
  }

  /** Of one entity, kept up to date. */
  switchesOf(entity: string): Switches {
    return this.#switches.get(entity) ?? noFlags
  }

  /** Does this process apply it, for all entities or for this one? */
  isSet(flag: FlagName, entity?: string): boolean {
    return [...this.#active.values()].some((one) => one.flag === flag && isFor(one, entity))
  }

  /** What this process applies. */
  get active(): readonly FlagInfo[] {
    const { instance } = this.#options
    return [...this.#active.values()].map((one) =>
      one.from === 'environment'
        ? overrideInfo(one.flag, instance)
        : {
            flag: one.flag,
            ...scopeOf(one),
            reason: one.reason,
            author: one.author,
            by: one.by,
            from: one.from,
            setAt: new Date(one.setAtMs),
            until: new Date(one.untilMs),
            appliedBy: [instance],
          },
    )
  }

  /** Resolves after the first look, whatever came of it. */
  async start(): Promise<void> {
    if (!this.#board) return
    await this.#look(this.#board)
    this.#ended = this.#run(this.#board)
  }

  /** Looks as soon as it can. */
  look(): void {
    this.#nap.abort()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#cancelEnd()
    this.look()
    await this.#ended
  }

  /** A rule's own: applied here at once, and kept where the others are as soon as it can be. */
  async applyOwn(change: FlagChange): Promise<void> {
    const key = flagKey(change)
    const { clock } = this.#options
    if (change.kind === 'set') {
      const { kind: _, forMs, ...words } = change
      const nowMs = clock.wallMs()
      this.#own.set(key, {
        ...words,
        key,
        changeId: nowMs,
        setAtMs: nowMs,
        untilMs: nowMs + forMs,
        from: 'redis',
        endsAtMs: clock.monotonicMs() + forMs,
      })
    } else {
      this.#own.delete(key)
      this.#heard = this.#heard.filter((one) => one.key !== key)
    }
    this.#settle()
    try {
      await this.#board?.change([change])
      if (!this.#board || change.kind === 'unset' || this.#closing.signal.aborted) return
      await this.#look(this.#board)
      // Known elsewhere, it is unset there too.
      if (this.#heard.some((one) => one.key === key) && this.#own.delete(key)) this.#settle()
    } catch (error) {
      this.#options.log.debug({ err: error }, 'a flag of a rule is known here alone')
    }
  }

  async #run(board: FlagBoard): Promise<void> {
    const { clock } = this.#options
    const { signal } = this.#closing
    while (!signal.aborted) {
      await sleep(leastPauseMs, signal, clock)
      await sleep(lookEveryMs - leastPauseMs, this.#nap.signal, clock)
      this.#nap = new AbortController()
      if (!signal.aborted) await this.#look(board)
    }
  }

  /** Never rejects. */
  async #look(board: FlagBoard): Promise<void> {
    const known = await board.known()
    // What Redis has may be older than what PostgreSQL had told before.
    if (!known || known.state.revision < this.#revision) return
    this.#revision = known.state.revision
    this.#hear(known.state, known.from)
    if (known.from === 'redis') return
    if (this.#options.isRelaying()) await board.mirrored(known.state)
    await this.#report(board)
  }

  #hear({ flags }: FlagState, from: 'postgres' | 'redis'): void {
    const nowMs = this.#options.clock.monotonicMs()
    this.#heard = flags.map(({ leftMs, ...flag }) => ({
      ...flag,
      key: flagKey(flag),
      from,
      endsAtMs: nowMs + leftMs,
    }))
    this.#settle()
  }

  async #report(board: FlagBoard): Promise<void> {
    const { clock, instance } = this.#options
    const applied = [...this.#active.keys()].sort()
    const keys = applied.join()
    const nowMs = clock.monotonicMs()
    if (this.#reported.keys === keys && nowMs - this.#reported.atMs < reportEveryMs) return
    this.#reported = { keys, atMs: nowMs }
    await board.report({ instance, applied })
  }

  /** Applies what is known now, tells what has changed, and wakes when the next one ends. */
  #settle(): void {
    const { clock } = this.#options
    const nowMs = clock.monotonicMs()
    const before = this.#active
    const now = new Map<string, Applied>()
    for (const one of [...this.#overrides(), ...this.#heard, ...this.#own.values()]) {
      if (one.endsAtMs > nowMs && this.#concerns(one)) now.set(one.key, one)
    }
    for (const [key, { endsAtMs }] of this.#own) if (endsAtMs <= nowMs) this.#own.delete(key)
    this.#active = now
    for (const [entity, switches] of this.#switches) {
      for (const name of flagNames) switches[name] = this.isSet(name, entity)
    }
    for (const [key, one] of before) {
      if (!now.has(key)) this.#tell(one, one.endsAtMs - nowMs < slackMs ? 'expired' : 'unset')
    }
    for (const [key, one] of now) {
      const known = before.get(key)
      if (!known || isSetAnew(known, one)) this.#tell(one, 'set')
    }
    this.#cancelEnd()
    const endsAtMs = Math.min(...[...now.values()].map((one) => one.endsAtMs))
    // Node's timers take no longer delays; the next look sets the next one.
    if (endsAtMs === Number.POSITIVE_INFINITY || this.#closing.signal.aborted) return
    this.#cancelEnd = clock.after(endsAtMs - nowMs, () => this.#settle())
  }

  #concerns({ entity, instance }: FlagScope): boolean {
    const { entities, instance: own } = this.#options
    if (instance !== undefined && instance !== own) return false
    return entity === undefined || entities.includes(entity)
  }

  #overrides(): readonly Applied[] {
    const { override } = this.#options
    return override.map((flag) => ({
      flag,
      key: `${environmentMark}${flag}`,
      from: 'environment',
      by: 'environment',
      reason: 'its options or LOCKSTEP_FLAGS',
      author: 'environment',
      changeId: 0,
      setAtMs: 0,
      untilMs: Number.POSITIVE_INFINITY,
      endsAtMs: Number.POSITIVE_INFINITY,
    }))
  }

  #tell(one: Applied, state: FlagEvent['state']): void {
    const { flag, reason, author, by } = one
    const event: FlagEvent = { flag, state, scope: scopeOf(one), reason, author, by }
    const { entity, instance } = event.scope
    this.#options.log[state === 'set' ? 'warn' : 'info'](
      { flag, state, entity, instance, reason, author, by },
      `flag "${flag}" is ${state === 'expired' ? 'over' : state}`,
    )
    this.#options.changed(event)
  }
}

function isFor(scope: FlagScope, entity: string | undefined): boolean {
  return scope.entity === undefined || scope.entity === entity
}

/** A rule's own becomes one that is kept: the same flag. */
function isSetAnew(before: Applied, now: Applied): boolean {
  return before.changeId !== now.changeId && !(now.by === 'slo' && before.author === now.author)
}

function scopeOf({ entity, instance }: FlagScope): FlagScope {
  return {
    ...(entity === undefined ? {} : { entity }),
    ...(instance === undefined ? {} : { instance }),
  }
}
