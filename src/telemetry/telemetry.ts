/** All that one cache tells of itself: counters, events, and the registry that a scrape reads. */
import type { Clock } from '../model/clock.ts'
import type { LoadClass } from '../model/load-class.ts'
import type { Logger } from '../model/log.ts'
import {
  type ChangeCounters,
  codeOf,
  count,
  type FleetCounters,
  type HotKeyCounters,
  newWriteCounters,
  type RelayCounters,
  type Tally,
} from './counters.ts'
import { type CacheEvents, Events, type TrustChange, type TrustLoss } from './events.ts'
import { HopWatch, hopOperations } from './hops.ts'
import { type OpenRegistry, openRegistry, type Registry } from './registry.ts'
import { hopsOf, type Numbers, samplersOf } from './samples.ts'

export interface TelemetryOptions
  extends Pick<Numbers, 'entities' | 'present' | 'hasL2' | 'hasLog' | 'boundMs' | 'retries'> {
  readonly namespace: string
  readonly clock: Clock
  readonly log: Logger
}

export class Telemetry {
  readonly events: Events
  readonly hops: HopWatch
  readonly writes = newWriteCounters()
  /** Messages of the fast plane, and new rows of the outbox. */
  readonly heard = { fast: 0, durable: 0 }
  /** What this process did as the relay, beside telling others of rows. */
  readonly relayed: RelayCounters = { replayedRows: 0, repeatedRows: 0, repeatedValues: 0 }
  readonly hotKeys: HotKeyCounters = { sent: 0, unsent: 0, heard: 0 }
  /** Events of foreign producers, by what became of them. */
  readonly foreignEvents: Tally = new Map()
  /** Loads that were not run, by what they were for. */
  readonly shedLoads: Tally<LoadClass> = new Map()
  /** What was heard of all instances. */
  readonly fleet: FleetCounters = { answers: new Map(), holds: new Map() }
  readonly #clock: Clock
  readonly #log: Logger
  readonly #trustLosses: Tally<TrustLoss> = new Map()
  readonly #changes: ChangeCounters = { breakers: new Map(), flags: new Map(), relay: new Map() }
  readonly #open: OpenRegistry

  constructor(options: TelemetryOptions) {
    const { clock, log, namespace } = options
    this.#clock = clock
    this.#log = log
    this.events = new Events(log)
    this.hops = new HopWatch({
      clock,
      answered: (hop, operation, seconds) =>
        this.#open.observe('lockstep_hop_seconds', seconds, { hop, operation }),
    })
    const { hops, writes, heard, relayed, foreignEvents, shedLoads, hotKeys, fleet } = this
    const told = { hops, writes, heard, relayed, foreignEvents, shedLoads, hotKeys, fleet }
    const numbers = {
      ...options,
      ...told,
      trustLosses: this.#trustLosses,
      changes: this.#changes,
    }
    this.#open = openRegistry(namespace, samplersOf(numbers))
    this.#open.zero('lockstep_write_seconds', {})
    for (const hop of hopsOf(options)) {
      for (const operation of hopOperations[hop]) {
        this.#open.zero('lockstep_hop_seconds', { hop, operation })
      }
    }
  }

  /** As it stands after `close()` too. */
  get registry(): Registry {
    return this.#open.registry
  }

  trustChanged(change: TrustChange): void {
    if (change.state === 'gained') this.#log.info(change, 'L1 is proven')
    else {
      count(this.#trustLosses, change.reason)
      this.#log[change.reason === 'closed' ? 'debug' : 'warn'](change, 'L1 is not proven any more')
    }
    this.events.emit('trust', () => change)
  }

  relayChanged(change: CacheEvents['relay']): void {
    count(this.#changes.relay, change.state)
    this.#log.info(change, change.state === 'begun' ? 'it relays' : 'it does not relay any more')
    this.events.emit('relay', () => change)
  }

  /** Who changes it has its line in the log; as below. */
  breakerChanged(change: CacheEvents['breaker']): void {
    const { hop, state, reason } = change
    count(this.#changes.breakers, `${hop} ${state} ${reason}`)
    this.events.emit('breaker', () => change)
  }

  flagChanged(change: CacheEvents['flag']): void {
    const { flag, scope, state } = change
    count(this.#changes.flags, `${flag} ${scope.entity ?? '*'} ${state}`)
    this.events.emit('flag', () => change)
  }

  /** Passes a write through, and counts what it came to. */
  async write<R extends { readonly fenced: boolean }>(run: () => Promise<R>): Promise<R> {
    const beganAtMs = this.#clock.monotonicMs()
    const result = await this.#countingFailures(run)
    this.writes[result.fenced ? 'fenced' : 'unfenced']++
    const seconds = (this.#clock.monotonicMs() - beganAtMs) / 1_000
    this.#open.observe('lockstep_write_seconds', seconds, {})
    return result
  }

  /** As `write`; it is counted when its caller has committed, and not at all when rolled back. */
  async joinedWrite<R extends { readonly ended: Promise<string> }>(
    run: () => Promise<R>,
  ): Promise<Omit<R, 'ended'>> {
    const { ended, ...result } = await this.#countingFailures(run)
    void ended.then((end) => {
      if (end === 'fenced' || end === 'unfenced') this.writes[end]++
    })
    return result
  }

  async #countingFailures<R>(run: () => Promise<R>): Promise<R> {
    try {
      return await run()
    } catch (error) {
      count(this.writes.failures, codeOf(error))
      throw error
    }
  }
}
