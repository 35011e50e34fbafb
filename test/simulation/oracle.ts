/**
 * Knows when each version of a row was committed and acknowledged, and judges every answer by what
 * was promised (DESIGN §1): I3, I4, I10, and that nothing is seen that never was.
 */
export interface Version {
  readonly id: number
  /** Grows with each write of the row, in the order of the commits. */
  readonly number: number
  state: 'open' | 'committed' | 'aborted' | 'lost'
  beganAtMs: number
  committedAtMs: number
  lostAtMs: number
  /** The step in which the write's call returned with `fenced: true`. */
  ackedAt: number
  /** SQL that the cache hears of when it has committed. */
  readonly isForeign: boolean
  /** `false`: nobody tells the cache of it, unless somebody calls. */
  isTold: boolean
}

export interface Violation {
  readonly invariant: 'I1' | 'I2' | 'I3' | 'I4' | 'I5' | 'I8' | 'I10' | 'no such value'
  readonly atMs: number
  readonly text: string
}

export interface Ask {
  readonly id: number
  readonly process: string
  readonly isStrong: boolean
  readonly tickets: readonly Version[]
  readonly beganAtMs: number
  readonly beganAt: number
  /** The newest that a strong read had seen. */
  readonly seen: number
}

export interface Answered {
  readonly number: number
  readonly tier: 'l1' | 'l2' | 'source' | 'any'
  readonly isProven: boolean
}

export interface OracleOptions {
  readonly boundMs: number
  readonly nowMs: () => number
  readonly foreignWrites: boolean
  /** Nothing in this schedule makes Redis forget or misses it: strong reads never go back. */
  readonly isLinearizable: boolean
}

export class Oracle {
  readonly violations: Violation[] = []
  answers = 0
  readonly #options: OracleOptions
  readonly #versions = new Map<number, Version[]>()
  readonly #seen = new Map<number, number>()
  readonly #failoversAtMs: number[] = []
  readonly #given: {
    readonly version: Version | undefined
    readonly text: string
    readonly atMs: number
    readonly beganAtMs: number
    readonly isBound: boolean
  }[] = []
  #numbers = 0
  #step = 0

  constructor(options: OracleOptions) {
    this.#options = options
  }

  /** Calls are ordered by their steps: what began after something ended has a later one. */
  step(): number {
    return this.#step++
  }

  /** There from the beginning. */
  seed(id: number): number {
    const version = this.begin(id, false)
    version.state = 'committed'
    version.committedAtMs = Number.NEGATIVE_INFINITY
    return version.number
  }

  begin(id: number, isForeign: boolean): Version {
    const version: Version = {
      id,
      number: this.#numbers++,
      state: 'open',
      beganAtMs: this.#options.nowMs(),
      committedAtMs: Number.POSITIVE_INFINITY,
      lostAtMs: Number.POSITIVE_INFINITY,
      ackedAt: Number.POSITIVE_INFINITY,
      isForeign,
      isTold: true,
    }
    this.#of(id).push(version)
    return version
  }

  committed(version: Version): void {
    version.state = 'committed'
    if (version.isTold) version.committedAtMs = this.#options.nowMs()
  }

  /** Somebody has told the cache of what it could not know. */
  told(version: Version): void {
    version.isTold = true
    version.committedAtMs = this.#options.nowMs()
  }

  aborted(version: Version): void {
    if (version.state === 'open') version.state = 'aborted'
  }

  redisFailedOver(): void {
    this.#failoversAtMs.push(this.#options.nowMs())
  }

  /** `isThere`: has the server that took over this version? */
  postgresFailedOver(isThere: (version: Version) => boolean): void {
    this.#seen.clear()
    for (const version of [...this.#versions.values()].flat()) {
      if (version.state !== 'committed' || isThere(version)) continue
      version.state = 'lost'
      version.lostAtMs = this.#options.nowMs()
    }
  }

  ask(
    ask: Pick<Ask, 'id' | 'isStrong' | 'process'> & { readonly tickets?: readonly Version[] },
  ): Ask {
    return {
      tickets: [],
      ...ask,
      beganAtMs: this.#options.nowMs(),
      beganAt: this.step(),
      seen: this.#seen.get(ask.id) ?? 0,
    }
  }

  judge(ask: Ask, answered: Answered): void {
    this.answers++
    const { id, process, isStrong, beganAtMs } = ask
    const { number, tier, isProven } = answered
    const nowMs = this.#options.nowMs()
    const what = `${isStrong ? 'a strong' : ask.tickets.length > 0 ? 'a ticketed' : 'a bounded'} read of ${id} in ${process} from ${nowMs - beganAtMs} ms before got version ${number} from ${tier}${isProven ? ', proven' : ''}`
    this.#given.push({
      version: this.#of(id).find((one) => one.number === number),
      text: what,
      atMs: nowMs,
      beganAtMs,
      isBound: isProven || tier === 'l1',
    })
    for (const ticket of ask.tickets) {
      if (ticket.state === 'committed' && number < ticket.number) {
        this.violate('I10', `${what}; its ticket is for ${ticket.number}`)
      }
    }
    if (isStrong) this.#judgeStrong(ask, number, what)
    if (!isProven && (isStrong || this.#options.foreignWrites)) {
      this.violate('I3', `${what}; it had to be proven`)
    }
    if (!isProven && tier !== 'l1') return
    const due = this.#newest(id, (one) => one.committedAtMs < beganAtMs - this.#options.boundMs)
    if (due && number < due.number) {
      const age = Math.round(beganAtMs - due.committedAtMs)
      this.violate('I3', `${what}; ${due.number} was committed ${age} ms before it began`)
    }
  }

  #judgeStrong(ask: Ask, number: number, what: string): void {
    const { id, beganAtMs, beganAt } = ask
    const forgotSince = (version: Version): boolean =>
      this.#failoversAtMs.some((atMs) => atMs >= version.beganAtMs)
    const due = this.#newest(
      id,
      (one) =>
        one.ackedAt < beganAt &&
        (!forgotSince(one) || one.committedAtMs < beganAtMs - this.#options.boundMs),
    )
    if (due && number < due.number) {
      this.violate('I4', `${what}; the call that wrote ${due.number} had returned`)
    }
    if (!this.#options.isLinearizable) return
    if (number < ask.seen) {
      this.violate('I4', `${what}; a strong read before it had got ${ask.seen}`)
    }
    const own = this.#newest(id, (one) => !one.isForeign && one.number <= number)
    this.#seen.set(id, Math.max(this.#seen.get(id) ?? 0, own?.number ?? 0))
  }

  /** The newest version that every tier has when all is quiet. */
  due(id: number): number {
    return this.#newest(id, ({ isTold }) => isTold)?.number ?? -1
  }

  /** When all has ended: what was given to anybody is what somebody had committed. */
  judgeEnd(): void {
    for (const { version, text, atMs, beganAtMs, isBound } of this.#given) {
      if (version === undefined || version.state === 'aborted' || version.state === 'open') {
        this.#add('no such value', `${text}, which nobody has committed`, atMs)
        continue
      }
      // What Redis has of a server that is gone, and nothing proves, is bound by nothing (I3).
      if (version.state !== 'lost' || !isBound) continue
      const sinceMs = beganAtMs - version.lostAtMs
      if (sinceMs <= this.#options.boundMs) continue
      this.#add('no such value', `${text}, which was lost ${sinceMs} ms before`, atMs)
    }
  }

  violate(invariant: Violation['invariant'], text: string): void {
    this.#add(invariant, text, this.#options.nowMs())
  }

  #add(invariant: Violation['invariant'], text: string, atMs: number): void {
    this.violations.push({ invariant, text, atMs })
  }

  get writes(): number {
    return [...this.#versions.values()].flat().filter(({ state }) => state !== 'aborted').length
  }

  #newest(id: number, isWanted: (version: Version) => boolean): Version | undefined {
    return this.#of(id).findLast((one) => one.state === 'committed' && isWanted(one))
  }

  #of(id: number): Version[] {
    const known = this.#versions.get(id)
    if (known) return known
    const versions: Version[] = []
    this.#versions.set(id, versions)
    return versions
  }
}
