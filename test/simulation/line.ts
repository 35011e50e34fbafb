/**
 * Between one process and everything else: each call takes its time there and back; while the
 * process is stopped nothing reaches it, and when it has been killed nothing ever does.
 */
import type { Clock } from '../../src/model/clock.ts'
import { deferred } from '../../src/resilience/deadline.ts'
import type { VirtualClock } from '../../src/testing/virtual-clock.ts'
import type { Chance } from './chance.ts'

/** A stopped process' transactions are cut by the database after so long. */
const silenceMs = 150

export class Line {
  readonly #clock: VirtualClock
  readonly #delaysMs: () => readonly number[]
  readonly #chance: Chance
  readonly #rows = new Map<string, Chance>()
  readonly #died = deferred<never>()
  /** What reaches it when it goes on. */
  #waiting: (() => void)[] = []
  #stops = 0
  #stoppedMs = 0
  #stopped: { readonly since: number } | undefined
  #killIn: number | undefined
  readonly #atDeath: (() => void)[] = []
  readonly #timers = new Set<() => void>()
  readonly #cuts = new Set<() => void>()
  readonly #offUntilMs = { redis: 0, database: 0 }
  isDead = false
  #wallOffsetMs = 0

  constructor(clock: VirtualClock, chance: Chance, delaysMs: () => readonly number[]) {
    this.#clock = clock
    this.#chance = chance
    this.#delaysMs = delaysMs
    this.#died.promise.catch(() => {})
  }

  /** The numbers that are drawn for one kind of its calls. */
  chance(name: string): Chance {
    const known = this.#rows.get(name)
    if (known) return known
    const row = this.#chance.of(name)
    this.#rows.set(name, row)
    return row
  }

  /** As the process sees time. */
  get clock(): Clock {
    return {
      monotonicMs: () => this.#clock.monotonicMs(),
      wallMs: () => this.#clock.wallMs() + this.#wallOffsetMs,
      defer: (run) => this.#clock.defer(() => this.whenAwake(run)),
      after: (ms, run) => {
        let isCancelled = false
        const cancel = (): void => {
          isCancelled = true
          this.#timers.delete(cancel)
          cancelTimer()
        }
        const cancelTimer = this.#clock.after(ms, () => {
          this.#timers.delete(cancel)
          this.whenAwake(() => {
            if (!isCancelled) run()
          })
        })
        if (this.isDead) cancel()
        else this.#timers.add(cancel)
        return cancel
      },
    }
  }

  // ---- what is done to it

  stop(ms: number): void {
    if (this.isDead) return
    this.#stops++
    this.#stopped ??= { since: this.#clock.monotonicMs() }
    this.#clock.after(silenceMs, () => {
      if (this.#stopped && this.#clock.monotonicMs() - this.#stopped.since >= silenceMs) this.#cut()
    })
    this.#clock.after(ms, () => {
      if (--this.#stops > 0) return
      this.#stoppedMs = this.stoppedMs
      this.#stopped = undefined
      for (const run of this.#waiting.splice(0)) this.whenAwake(run)
    })
  }

  /** The wall clock of this process alone. */
  stepWall(ms: number): void {
    this.#wallOffsetMs += ms
  }

  killAfter(steps: number): void {
    this.#killIn = steps
  }

  kill(): void {
    if (this.isDead) return
    this.isDead = true
    this.#waiting = []
    for (const cancel of [...this.#timers]) cancel()
    for (const run of this.#atDeath.splice(0)) run()
    this.#cut()
  }

  /** How long it has been stopped, in all. */
  get stoppedMs(): number {
    const since = this.#stopped?.since
    return this.#stoppedMs + (since === undefined ? 0 : this.#clock.monotonicMs() - since)
  }

  get isStopped(): boolean {
    return this.#stopped !== undefined
  }

  cutOff(from: 'redis' | 'database', ms: number): void {
    this.#offUntilMs[from] = this.#clock.monotonicMs() + ms
  }

  mend(): void {
    this.#offUntilMs.redis = 0
    this.#offUntilMs.database = 0
  }

  isOff(from: 'redis' | 'database'): boolean {
    return this.#clock.monotonicMs() < this.#offUntilMs[from]
  }

  atDeath(run: () => void): void {
    this.#atDeath.push(run)
  }

  /** Ends when the database has given up whoever is silent, or dead. */
  async heldBySession<T>(work: Promise<T>): Promise<T> {
    let uncut = (): void => {}
    const ended = new Promise<never>((_, reject) => {
      uncut = this.onCut(() => reject(new Error('the connection was cut')))
    })
    try {
      return await Promise.race([work, ended])
    } finally {
      uncut()
    }
  }

  /** Each time that its sessions are cut; what reaches the database of a dead one is cut at once. */
  onCut(run: () => void): () => void {
    if (this.isDead) run()
    this.#cuts.add(run)
    return () => void this.#cuts.delete(run)
  }

  #cut(): void {
    for (const cut of [...this.#cuts]) cut()
  }

  // ---- its calls

  whenAwake(run: () => void): void {
    if (this.isDead) return
    if (this.#stopped) this.#waiting.push(run)
    else run()
  }

  async travel<T>(name: string, call: () => Promise<T>): Promise<T> {
    await this.go(name)
    let answer: { readonly value: T } | { readonly error: unknown }
    try {
      answer = { value: await call() }
    } catch (error) {
      answer = { error }
    }
    await this.go(name)
    if ('error' in answer) throw answer.error
    return answer.value
  }

  /** One way: what leaves the process, or comes to it. */
  async go(name: string): Promise<void> {
    await this.#step()
    await this.pause(name)
    await this.#step()
  }

  pause(name: string): Promise<void> | undefined {
    const ms = this.chance(name).pick(this.#delaysMs())
    if (ms === 0) return undefined
    return new Promise((resolve) => this.#clock.after(ms, resolve))
  }

  #step(): Promise<void> | undefined {
    if (this.#killIn !== undefined && this.#killIn-- <= 0) {
      this.#killIn = undefined
      this.kill()
    }
    // Nobody waits for it any more.
    if (this.isDead) return new Promise(() => {})
    if (!this.#stopped) return undefined
    return new Promise((resolve) => this.whenAwake(resolve))
  }
}
