/** The hops of one cache: their breakers, their retries, and the signal of all instances. */
import { Fleet } from './coordinator/fleet.ts'
import type { FleetSignal } from './model/fleet.ts'
import type { Settings } from './options.ts'
import type { BreakerSet } from './resilience/breakers.ts'
import type { Hop } from './resilience/hop.ts'
import { type HopName, hopNames } from './resilience/hop-settings.ts'
import type { BreakerChange, BreakerState } from './resilience/phase.ts'
import type { RetryPlan } from './resilience/retry.ts'
import { RetryBudget } from './resilience/retry-budget.ts'
import type { PresentBreaker } from './telemetry/samples.ts'
import type { Telemetry } from './telemetry/telemetry.ts'

/** How one place is asked. */
export interface HopPart {
  readonly breakers: BreakerSet
  /** May the same call succeed when it is made again? */
  readonly isRetryable: (error: unknown) => boolean
  /** Where the place doesn't go through it by itself. */
  readonly hop?: Pick<Hop, 'run'>
}

/** Of each place that has breakers; `fleet`: who knows of the calls of all instances. */
export interface HopParts extends Partial<Readonly<Record<HopName, HopPart>>> {
  readonly fleet?: FleetSignal | undefined
}

/** How one place is asked now. */
export interface HopHealth {
  /** Of several nodes the worst. */
  readonly breaker: BreakerState
  /** Calls are held back because those of all instances fail. */
  readonly held: boolean
  /** Of each node by host and port, where there are several. */
  readonly nodes?: Readonly<Record<string, BreakerState>>
}

/** Redis, PostgreSQL and Kafka: those that there are. */
export interface HopsHealth {
  readonly l2?: HopHealth
  readonly source: HopHealth
  readonly bus?: HopHealth
}

export class RunningHops {
  readonly budgets: Readonly<Record<HopName, RetryBudget>>
  readonly #settings: Settings
  readonly #parts: HopParts
  #fleet: Fleet | undefined

  constructor(settings: Settings, parts: HopParts) {
    const { clock } = settings
    this.#settings = settings
    this.#parts = parts
    this.budgets = {
      l2: new RetryBudget(clock),
      source: new RetryBudget(clock),
      bus: new RetryBudget(clock),
    }
  }

  /** What `telemetry` is to hear of, from here on. */
  start(telemetry: Pick<Telemetry, 'breakerChanged' | 'fleet'>): void {
    const { clock, hops, log, random } = this.#settings
    const { fleet: signal, ...parts } = this.#parts
    for (const [hop, { breakers }] of Object.entries(parts) as [HopName, HopPart][]) {
      breakers.onChange((change, node) => {
        const { state, reason } = change
        log[isWorse(change) ? 'warn' : 'info'](
          { hop, node, state, reason, ...causeOf(change) },
          `the breaker of ${services[hop]} is ${state}`,
        )
        telemetry.breakerChanged({ hop, state, reason, ...(node === undefined ? {} : { node }) })
      })
    }
    if (!signal) return
    const held = hopNames.flatMap((hop) => {
      const { fleet: how } = hops[hop]
      const part = parts[hop]
      return part && how !== 'off' ? [[hop, { breakers: part.breakers, how }] as const] : []
    })
    const { fleet: counters } = telemetry
    this.#fleet = new Fleet({ signal, hops: new Map(held), counters, clock, log, random })
    this.#fleet.start()
  }

  plan(hop: HopName): RetryPlan {
    const { retries } = this.#settings.hops[hop]
    const isRetryable = this.#parts[hop]?.isRetryable ?? (() => true)
    return { retries, isRetryable, budget: this.budgets[hop] }
  }

  /** Of the bus. */
  get busHop(): Pick<Hop, 'run'> | undefined {
    return this.#parts.bus?.hop
  }

  get health(): HopsHealth {
    const [l2, source, bus] = hopNames.map((hop) => this.#healthOf(hop))
    return {
      ...(l2 && { l2 }),
      // One without breakers is asked whatever comes of it.
      source: source ?? { breaker: 'closed', held: false },
      ...(bus && { bus }),
    }
  }

  #healthOf(hop: HopName): HopHealth | undefined {
    const breakers = this.#parts[hop]?.breakers
    if (!breakers) return undefined
    const { state: breaker, nodes } = breakers
    const held = this.#fleet?.isHeld(hop) ?? false
    return { breaker, held, ...(nodes.size > 0 && { nodes: Object.fromEntries(nodes) }) }
  }

  /** `undefined`: the place has no breakers. */
  stateOf(hop: HopName): BreakerState | undefined {
    return this.#parts[hop]?.breakers.state
  }

  present(): readonly PresentBreaker[] {
    return hopNames.flatMap((hop) => {
      const part = this.#parts[hop]
      if (!part) return []
      const { breakers } = part
      const isHeld = this.#fleet?.isHeld(hop)
      return [{ hop, state: breakers.state, calls: breakers.calls(), isHeld }]
    })
  }

  async close(): Promise<void> {
    await this.#fleet?.close()
  }
}

/** Half-open is better than open, and worse than closed. */
function isWorse({ state, before }: BreakerChange): boolean {
  return state === 'open' || (state === 'half-open' && before === 'closed')
}

/** An error is logged as one, and not again when it is over. */
function causeOf(change: BreakerChange): object {
  const { cause } = change
  if (!isWorse(change) || cause === undefined) return {}
  return typeof cause === 'string' ? { cause } : { err: cause }
}

const services: Readonly<Record<HopName, string>> = {
  l2: 'Redis',
  source: 'PostgreSQL',
  bus: 'Kafka',
}
