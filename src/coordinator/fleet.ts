/** The second signal of the breakers: asks what share of the calls of all instances fails, and tightens. */
import type { Clock } from '../model/clock.ts'
import { messageOf } from '../model/errors.ts'
import type { FleetAnswer, FleetSignal } from '../model/fleet.ts'
import type { Logger } from '../model/log.ts'
import type { BreakerSet } from '../resilience/breakers.ts'
import { sleep } from '../resilience/deadline.ts'
import { FleetHolds, type Target } from '../resilience/fleet-holds.ts'
import type { HopName } from '../resilience/hop-settings.ts'
import { count, type FleetCounters } from '../telemetry/counters.ts'

export interface FleetOptions {
  readonly signal: FleetSignal
  /** `how` a hop is held; a hop that is never held isn't here. */
  readonly hops: ReadonlyMap<
    HopName,
    { readonly breakers: BreakerSet; readonly how: 'open' | 'limit' }
  >
  readonly counters: FleetCounters
  readonly clock: Clock
  readonly log: Logger
  /** From 0 to 1: so that not all instances ask at once. */
  readonly random: () => number
}

/** Of the interval, earlier by chance. */
const spread = 0.2

export class Fleet {
  readonly #options: FleetOptions
  readonly #holds: FleetHolds
  readonly #closing = new AbortController()
  #running: Promise<void> | undefined
  #saidOutcome = 'known'

  constructor(options: FleetOptions) {
    this.#options = options
    this.#holds = new FleetHolds(options.signal.holdForMs)
  }

  start(): void {
    this.#running = this.#run()
  }

  isHeld(hop: HopName): boolean {
    return this.#holds.isHeld(hop, this.#options.clock.monotonicMs())
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#running
  }

  async #run(): Promise<void> {
    const { clock, random, signal } = this.#options
    while (!this.#closing.signal.aborted) {
      await sleep(signal.intervalMs * (1 - spread * random()), this.#closing.signal, clock)
      if (this.#closing.signal.aborted) return
      const answer = await this.#ask()
      if (!this.#closing.signal.aborted) this.#hear(answer)
    }
  }

  async #ask(): Promise<FleetAnswer> {
    try {
      return await this.#options.signal.ask(this.#closing.signal)
    } catch (error) {
      return { kind: 'unknown', reason: 'unreachable', detail: messageOf(error) }
    }
  }

  #hear(answer: FleetAnswer): void {
    const { clock, counters, hops, log } = this.#options
    const now = { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }
    const { holds, outcome } = this.#holds.heard(answer, this.#targets(), now)
    count(counters.answers, outcome)
    this.#say(outcome, answer)
    for (const { hop, node, untilMs, errorRatio } of holds) {
      const held = hops.get(hop as HopName)
      count(counters.holds, hop)
      // Where the breaker changes by it, that is told.
      log.debug({ hop, node, errorRatio }, 'calls of all instances fail: this one holds back')
      const share = `${(errorRatio * 100).toFixed(1)} % of the calls of all instances failed`
      held?.breakers.tighten(node, untilMs, held.how, share)
    }
  }

  #targets(): readonly Target[] {
    return [...this.#options.hops].flatMap(([hop, { breakers }]) =>
      breakers.calls().map(([node]) => ({ hop, node })),
    )
  }

  /** Once for each change: nothing relies on it. `empty` is what a quiet cache answers. */
  #say(outcome: string, answer: FleetAnswer): void {
    const said = outcome === 'empty' ? 'known' : outcome
    if (said === this.#saidOutcome) return
    this.#saidOutcome = said
    const detail = answer.kind === 'unknown' ? answer.detail : ''
    if (said === 'known') this.#options.log.info({}, 'Prometheus is heard again')
    else {
      this.#options.log.warn(
        { reason: outcome, detail },
        'Prometheus says nothing of use; breakers go by what this process sees',
      )
    }
  }
}
