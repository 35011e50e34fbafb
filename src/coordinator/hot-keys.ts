/**
 * The hot keys of this process and of all others: who reads a key often tells the others a few times
 * a second over the fast plane, and everybody keeps it in L1. Nothing relies on it: a list that is
 * lost, late, doubled or made up moves no value that the fill rules don't let in, and loads nothing.
 *
 * No timer runs while no key is hot: the first read above a threshold, or the first list, sets it.
 */
import type { FastPlane, HotKey, HotList } from '../model/bus-ports.ts'
import type { Clock } from '../model/clock.ts'
import type { AnyEntity } from '../model/entity.ts'
import { messageOf } from '../model/errors.ts'
import type { Region } from '../model/l1-port.ts'
import type { Logger } from '../model/log.ts'
import type { HotKeyCounters } from '../telemetry/counters.ts'
import type { CacheEvents, Events } from '../telemetry/events.ts'
import { HotEntity } from './hot-entity.ts'
import { HotLists } from './hot-lists.ts'
import type { Trust } from './trust.ts'

/** From the first read above a threshold: a few more keys may be about to follow. */
const firstTickMs = 10
const tickMs = 100
/** What is hot already is said again so often; what becomes hot, with the next tick. */
const announceEveryMs = 300
/** Lists that are acted on at once; what comes sooner waits for the tick. */
const leastBetweenActsMs = 20
/** Beyond them the events of a second are left out. */
const mostEventsASecond = 100

export interface HotKeysOptions {
  /** This one. */
  readonly instance: string
  /** `undefined`: nobody is told, and nobody heard. */
  readonly fastPlane: FastPlane | undefined
  /** May Redis be spoken to now? */
  readonly isReachable: () => boolean
  readonly trust: Trust
  readonly clock: Clock
  readonly log: Logger
  readonly events: Events
  readonly counters: HotKeyCounters
  readonly closing: AbortSignal
}

export class HotKeys {
  readonly #options: HotKeysOptions
  readonly #entities = new Map<string, HotEntity>()
  readonly #lists = new HotLists()
  #cancel: (() => void) | undefined
  #isClosed = false
  #actedAtMs = Number.NEGATIVE_INFINITY
  /** What was told last, as one text for each key. */
  #announced: ReadonlySet<string> = new Set()
  #announcedAtMs = Number.NEGATIVE_INFINITY
  #isAnnouncing = false
  #eventsSinceMs = Number.NEGATIVE_INFINITY
  #eventsTold = 0

  constructor(options: HotKeysOptions) {
    this.#options = options
  }

  /** `undefined`: this entity has none. */
  open(entity: AnyEntity, region: Region): HotEntity | undefined {
    if (entity.hotKeys === false) return undefined
    const { clock, instance, trust } = this.#options
    const opened = new HotEntity({
      ...{ entity, region, instance, trust, clock },
      threshold: entity.hotKeys.threshold,
      noticed: this.#noticed,
      changed: (event) => this.#tell(event),
    })
    this.#entities.set(entity.name, opened)
    return opened
  }

  start(): void {
    if (this.#entities.size > 0) this.#options.fastPlane?.listenHot((list) => this.#hear(list))
  }

  close(): void {
    this.#isClosed = true
    this.#cancel?.()
    this.#cancel = undefined
  }

  readonly #noticed = (): void => {
    if (!this.#cancel) this.#arm(firstTickMs)
  }

  #arm(ms: number): void {
    if (this.#isClosed) return
    this.#cancel?.()
    this.#cancel = this.#options.clock.after(ms, this.#tick)
  }

  readonly #tick = (): void => {
    this.#cancel = undefined
    const { clock, instance } = this.#options
    const nowMs = clock.monotonicMs()
    const keys = [...this.#entities.values()].flatMap((entity) => entity.listed(nowMs))
    this.#lists.add({ instance, keys }, nowMs)
    this.#act(nowMs)
    this.#announce(keys, nowMs)
    const isOver = this.#lists.count === 0 && this.#announced.size === 0
    if (!isOver) this.#arm(tickMs)
  }

  #hear(list: HotList): void {
    const { clock, counters, instance } = this.#options
    if (this.#isClosed || list.instance === instance) return
    counters.heard++
    const nowMs = clock.monotonicMs()
    this.#lists.add(list, nowMs)
    if (!this.#cancel) this.#arm(tickMs)
    const isNews = list.keys.some(
      ({ entity, id }) => this.#entities.get(entity)?.isHot(id) === false,
    )
    if (isNews && nowMs - this.#actedAtMs >= leastBetweenActsMs) this.#act(nowMs)
  }

  #act(nowMs: number): void {
    this.#actedAtMs = nowMs
    const merged = this.#lists.merged(nowMs)
    for (const [name, entity] of this.#entities) {
      entity.settle(merged.get(name) ?? [])
      entity.keep(nowMs)
    }
  }

  /** Tells the others, at once of what they have not heard of; an empty list says that all is over. */
  #announce(keys: readonly HotKey[], nowMs: number): void {
    const { counters, fastPlane, isReachable } = this.#options
    const told = new Set(keys.map(({ entity, id }) => `${entity}:${id}`))
    if (!fastPlane) return
    const isNews = [...told].some((one) => !this.#announced.has(one))
    const isDue = nowMs - this.#announcedAtMs >= announceEveryMs
    if (!isNews && !(isDue && (told.size > 0 || this.#announced.size > 0))) return
    if (this.#isAnnouncing) return
    this.#announced = told
    this.#announcedAtMs = nowMs
    if (isReachable()) void this.#send(fastPlane, keys)
    else counters.unsent++
  }

  async #send(fastPlane: FastPlane, keys: readonly HotKey[]): Promise<void> {
    const { closing, counters, instance, log } = this.#options
    this.#isAnnouncing = true
    try {
      await fastPlane.announce({ instance, keys }, closing)
      counters.sent++
    } catch (error) {
      counters.unsent++
      log.debug({ reason: messageOf(error) }, 'the hot keys cannot be told of now')
    } finally {
      this.#isAnnouncing = false
    }
  }

  #tell(event: CacheEvents['hot-key']): void {
    const { clock, events } = this.#options
    const nowMs = clock.monotonicMs()
    if (nowMs - this.#eventsSinceMs >= 1_000) {
      this.#eventsSinceMs = nowMs
      this.#eventsTold = 0
    }
    if (this.#eventsTold++ < mostEventsASecond) events.emit('hot-key', () => event)
  }
}
