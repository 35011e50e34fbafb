/**
 * One entity's hot keys, as this process knows them: it counts how often ids are read here, hears of
 * those that all instances read most, and keeps these in L1. The fill rules stay as they are: what
 * is taken out of L2 needs its barrier, and without trust nothing is even asked for.
 *
 * One of the instances that read a hot key, by rendezvous hashing, loads it anew before it expires;
 * the others take what that one filled out of L2.
 */
import type { HotKey } from '../model/bus-ports.ts'
import type { Clock } from '../model/clock.ts'
import { mostHotKeys } from '../model/defaults.ts'
import type { AnyEntity } from '../model/entity.ts'
import { keyOfText, type L1Key } from '../model/id.ts'
import type { Region } from '../model/l1-port.ts'
import type { CacheEvents } from '../telemetry/events.ts'
import { KeyRates } from '../telemetry/key-rates.ts'
import type { MergedKey } from './hot-lists.ts'
import { electedFor } from './rendezvous.ts'
import type { Trust } from './trust.ts'

/** One hit of L1 in so many is counted, on average, and stands for all of them. */
const hitsPerSample = 64
/** Below this share of the threshold a hot key has cooled. */
const coolShare = 0.5
/** Where all places are taken, a key has to be so much hotter than the coolest to have its place. */
const replaceFactor = 2
/** A key that isn't fresh in L1 is looked for so often at most. */
const lookEveryMs = 500
/** One that has just become hot sooner, a few times: it may be on its way to L2, or the barrier beside it may lag. */
const firstLooks = { count: 3, everyMs: 100 }
/** What is fresh for less than this is looked for already: a look takes its time. */
const takeAheadMs = 120
/** Whoever is elected loads in the last part of a life, and at least so long before its end. */
const refreshShare = 0.15
const refreshAheadMs = 250

/** Those who read. */
export interface HotReader {
  /** Takes ids from L2 into L1, as far as they are there. */
  takeIn(keys: readonly L1Key[]): Promise<void>
  /** Loads an id that is fresh. */
  reload(key: L1Key, id: unknown): Promise<void>
}

/** A key that is hot now, over all instances. */
export interface KnownHotKey {
  /** As text. */
  readonly id: string
  readonly readsPerSecond: number
  /** Which part L1 answered: 0 to 1. */
  readonly l1Share: number
  /** That read it. */
  readonly instances: number
}

interface Hot {
  merged: MergedKey
  isElected: boolean
  lookedAtMs: number
  looks: number
}

export interface HotEntityOptions {
  readonly entity: AnyEntity
  readonly region: Region
  readonly instance: string
  readonly trust: Trust
  readonly clock: Clock
  readonly threshold: number
  /** A key is read more often than the threshold here. */
  readonly noticed: () => void
  readonly changed: (event: CacheEvents['hot-key']) => void
}

export class HotEntity {
  readonly #options: HotEntityOptions
  readonly #rates = new KeyRates()
  readonly #hot = new Map<L1Key, Hot>()
  #reader: HotReader | undefined
  #chance = 0x9e3779b9

  constructor(options: HotEntityOptions) {
    this.#options = options
  }

  /** Who reads it from now on. */
  serve(reader: HotReader): void {
    this.#reader = reader
  }

  /** A hit of L1 that stands for many; after how many hits the next one does. */
  sampled(key: L1Key, id: unknown, nowMs: number): number {
    this.#count(key, id, hitsPerSample, true, nowMs)
    // Drawn, so that ids that are read in turn are not always the ones that are left out (xorshift).
    this.#chance ^= this.#chance << 13
    this.#chance ^= this.#chance >>> 17
    this.#chance ^= this.#chance << 5
    return 1 + ((this.#chance >>> 1) % (2 * hitsPerSample - 1))
  }

  /** A read that L1 had no answer for. */
  read(key: L1Key, id: unknown, nowMs: number): void {
    this.#count(key, id, 1, false, nowMs)
  }

  /** Another instance loads it before it expires: nobody else needs to. */
  isElectedElsewhere(key: L1Key): boolean {
    return this.#hot.get(key)?.isElected === false
  }

  get count(): number {
    return this.#hot.size
  }

  known(): readonly KnownHotKey[] {
    return [...this.#hot.values()].map(({ merged }) => ({
      id: merged.id,
      readsPerSecond: merged.readsPerSecond,
      l1Share: merged.l1Share,
      instances: merged.instances.length,
    }))
  }

  isHot(id: string): boolean {
    return this.#hot.has(keyOfText(id))
  }

  /** What this process has to tell: what is hot here, and its part of what is hot elsewhere. */
  listed(nowMs: number): readonly HotKey[] {
    const { entity, threshold } = this.#options
    return this.#rates
      .top(mostHotKeys, 1, nowMs)
      .filter(({ key, readsPerSecond }) => readsPerSecond >= threshold || this.#hot.has(key))
      .map(({ key, readsPerSecond, l1Share }) => ({
        entity: entity.name,
        id: String(key),
        readsPerSecond,
        l1Share,
      }))
  }

  /** All instances together read these so often; the hottest come first. */
  settle(merged: readonly MergedKey[]): void {
    const { threshold } = this.#options
    const byKey = new Map(merged.map((one) => [keyOfText(one.id), one]))
    for (const [key, hot] of this.#hot) {
      const one = byKey.get(key)
      if (one && one.readsPerSecond >= threshold * coolShare) this.#put(key, one, hot)
      else this.#cool(key, { ...hot.merged, readsPerSecond: one?.readsPerSecond ?? 0 })
    }
    for (const [key, one] of byKey) {
      if (one.readsPerSecond < threshold) return
      if (this.#hot.has(key)) continue
      if (this.#hot.size >= mostHotKeys && !this.#makeRoom(one)) return
      this.#put(key, one, undefined)
      this.#tell('hot', one)
    }
  }

  /** Sees to it that L1 has them. */
  keep(nowMs: number): void {
    const { clock, region, trust } = this.#options
    if (!trust.isProven({ monotonicMs: nowMs, wallMs: clock.wallMs() })) return
    const lacking: L1Key[] = []
    for (const [key, hot] of this.#hot) {
      const sinceMs = nowMs - hot.lookedAtMs
      if (sinceMs < firstLooks.everyMs) continue
      const slot = region.find(key)
      const known = slot === undefined ? undefined : region.candidateAt(slot)
      const leftMs = known ? known.freshUntilMs - nowMs : 0
      const id = known && hot.isElected ? this.#rates.idOf(key) : undefined
      const isEarly = hot.looks < firstLooks.count
      if (known && id !== undefined && leftMs <= refreshBeforeMs(known)) {
        if (sinceMs < lookEveryMs) continue
        hot.lookedAtMs = nowMs
        void this.#reader?.reload(key, id)
      } else if (leftMs <= takeAheadMs && (isEarly || sinceMs >= lookEveryMs)) {
        hot.lookedAtMs = nowMs
        hot.looks++
        lacking.push(key)
      }
    }
    if (lacking.length > 0) void this.#reader?.takeIn(lacking)
  }

  #count(key: L1Key, id: unknown, times: number, isL1: boolean, nowMs: number): void {
    const { threshold, noticed } = this.#options
    if (this.#rates.add(key, id, times, isL1, nowMs) >= threshold) noticed()
  }

  #put(key: L1Key, merged: MergedKey, known: Hot | undefined): void {
    const { entity, instance } = this.#options
    const isElected = electedFor(`${entity.name}\n${merged.id}`, merged.instances) === instance
    this.#hot.set(key, {
      merged,
      isElected,
      lookedAtMs: known?.lookedAtMs ?? Number.NEGATIVE_INFINITY,
      looks: known?.looks ?? 0,
    })
  }

  /** A few that take turns must not push each other out: whoever comes has to be a good deal hotter. */
  #makeRoom(comer: MergedKey): boolean {
    let coolest: readonly [L1Key, Hot] | undefined
    for (const one of this.#hot) {
      if (!coolest || one[1].merged.readsPerSecond < coolest[1].merged.readsPerSecond) coolest = one
    }
    if (!coolest) return false
    const [key, { merged }] = coolest
    if (comer.readsPerSecond < replaceFactor * merged.readsPerSecond) return false
    this.#cool(key, merged)
    return true
  }

  #cool(key: L1Key, merged: MergedKey): void {
    this.#hot.delete(key)
    this.#tell('cooled', merged)
  }

  #tell(state: 'hot' | 'cooled', { id, readsPerSecond }: MergedKey): void {
    this.#options.changed({ entity: this.#options.entity.name, id, readsPerSecond, state })
  }
}

function refreshBeforeMs({
  loadedAtMs,
  freshUntilMs,
}: {
  readonly loadedAtMs: number
  readonly freshUntilMs: number
}): number {
  const lifeMs = freshUntilMs - loadedAtMs
  return Math.max(lifeMs * refreshShare, Math.min(refreshAheadMs, lifeMs / 2))
}
