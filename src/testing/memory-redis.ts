/**
 * A Redis in memory, with the rules of `src/redis/scripts/*.lua`: what `memory-l2.ts` stands on.
 * The contract suites hold the two of them to the real ones.
 */
import type { FastPlane, HotList, Told } from '../model/bus-ports.ts'
import type { Clock } from '../model/clock.ts'
import type { FillAnswer, Tombstone } from '../model/l2-port.ts'
import { covers, type Incarnation, visible, type WriteId } from '../model/snapshot.ts'
import { formatHotList, parseHotList } from '../redis/hot-list.ts'
import { barrierKey, fenceKey, filterKey, valueKey } from './memory-keys.ts'
import { MemoryWaits } from './memory-waits.ts'
import { copyOf, type StoredFence } from './stored-fence.ts'
import { type Header, headerOf } from './stored-header.ts'

const mostTombstones = 32

interface StoredValue {
  readonly bytes: Buffer
  readonly expiresAtMs: number
}

export interface MemoryRedisState {
  readonly values: ReadonlyMap<string, StoredValue>
  readonly fences: ReadonlyMap<string, StoredFence>
}

/** A fence as a script has read it: what is past the retention is left out. */
export interface ReadFence {
  readonly nonce: string
  readonly owner: string | undefined
  readonly untilMs: number | undefined
  readonly isAwaited: boolean
  readonly tombstones: readonly Tombstone[]
  readonly expired: readonly string[]
}

/** A Redis that several L2s may share, as several processes do. */
export class MemoryRedis {
  readonly #clock: Clock
  readonly #values = new Map<string, StoredValue>()
  readonly #fences = new Map<string, StoredFence>()
  readonly waits: MemoryWaits
  readonly #listeners: ((message: Told) => void)[] = []
  readonly #hotListeners: ((list: HotList) => void)[] = []
  /** Of the server that answers, as `NodeChange` has it. */
  identity = newIdentity()
  /** Why it can't be reached; `undefined` when it can. */
  down: Error | undefined

  constructor(clock: Clock) {
    this.#clock = clock
    this.waits = new MemoryWaits(clock)
  }

  nowMs(): number {
    return this.#clock.wallMs()
  }

  // ---- what a test does to it

  valueBytes(entity: string, version: number, id: string): Buffer | undefined {
    return this.get(valueKey(entity, version, id))
  }

  /** Puts any bytes where a value lies. */
  putBytes(entity: string, version: number, id: string, bytes: Buffer, expireMs = 60_000): void {
    this.set(valueKey(entity, version, id), bytes, expireMs)
  }

  evictValue(entity: string, version: number, id: string): void {
    this.#values.delete(valueKey(entity, version, id))
  }

  evictFence(entity: string, id: string): void {
    this.#fences.delete(fenceKey(entity, id))
  }

  evictBarrier(): void {
    this.#values.delete(barrierKey)
  }

  evictFilter(entity: string, slot: 0 | 1): void {
    this.#values.delete(filterKey(entity, slot))
  }

  /** All that it remembers now, for `failOver`. */
  save(): MemoryRedisState {
    const fences = [...this.#fences].map(([key, fence]) => [key, copyOf(fence)] as const)
    return { values: new Map(this.#values), fences: new Map(fences) }
  }

  /** Another server takes over, which remembers what this one did at the time of `save`. */
  failOver({ values, fences }: MemoryRedisState): void {
    this.flush()
    for (const [key, value] of values) this.#values.set(key, value)
    for (const [key, fence] of fences) this.#fences.set(key, copyOf(fence))
    this.identity = newIdentity()
  }

  flush(): void {
    this.#values.clear()
    this.#fences.clear()
  }

  tombstones(entity: string, id: string): readonly Tombstone[] {
    return [...(this.#fence(fenceKey(entity, id))?.tombstones.values() ?? [])].map(
      ({ incarnation, xid, merged }) => ({ incarnation, xid, merged }),
    )
  }

  hasLease(entity: string, id: string): boolean {
    const untilMs = this.#fence(fenceKey(entity, id))?.untilMs
    return untilMs !== undefined && untilMs > this.nowMs()
  }

  /** Readers that wait for a fill. */
  get waiting(): number {
    return this.waits.count
  }

  fastPlane(): FastPlane {
    return {
      listen: (told) => void this.#listeners.push(told),
      listenHot: (heard) => void this.#hotListeners.push(heard),
      announce: async (list) => {
        if (this.down) throw this.down
        const message = formatHotList(list)
        const told = parseHotList(message)
        if (told) for (const heard of this.#hotListeners) heard(told)
      },
    }
  }

  // ---- what the scripts do

  get(key: string): Buffer | undefined {
    const stored = this.#values.get(key)
    if (!stored || stored.expiresAtMs > this.nowMs()) return stored?.bytes
    // For good: when its clock is set back, what had expired and was asked for stays away.
    this.#values.delete(key)
    return undefined
  }

  set(key: string, bytes: Buffer, expireMs: number): void {
    this.#values.set(key, { bytes, expiresAtMs: this.nowMs() + expireMs })
  }

  /** Other bytes, for as long as those that lie there had. */
  replace(key: string, bytes: Buffer): void {
    const stored = this.#values.get(key)
    if (stored) this.#values.set(key, { ...stored, bytes })
  }

  pexpire(key: string, expireMs: number): void {
    const bytes = this.get(key)
    if (bytes) this.set(key, bytes, expireMs)
  }

  unlink(key: string): void {
    this.#values.delete(key)
  }

  /** snapshotAt of snapshot.lua. */
  headerAt(key: string): Header | undefined {
    const bytes = this.get(key)
    return bytes && headerOf(bytes)
  }

  readFence(key: string, retentionMs: number): ReadFence | undefined {
    const fence = this.#fence(key)
    if (!fence) return undefined
    const now = this.nowMs()
    const tombstones: Tombstone[] = []
    const expired: string[] = []
    for (const [field, { toldAtMs, incarnation, xid, merged }] of fence.tombstones) {
      if (now - toldAtMs > retentionMs) expired.push(field)
      else tombstones.push({ incarnation, xid, merged })
    }
    const { nonce, owner, untilMs, isAwaited } = fence
    return { nonce, owner, untilMs, isAwaited, tombstones, expired }
  }

  openFence(key: string, retentionMs: number, nonce: string): ReadFence {
    const known = this.readFence(key, retentionMs)
    const expiresAtMs = this.nowMs() + retentionMs
    if (!known) {
      this.#fences.set(key, {
        nonce,
        owner: undefined,
        untilMs: undefined,
        isAwaited: false,
        tombstones: new Map(),
        expiresAtMs,
      })
      return this.readFence(key, retentionMs) as ReadFence
    }
    const fence = this.#fences.get(key) as StoredFence
    if (known.expired.length > 0) {
      for (const field of known.expired) fence.tombstones.delete(field)
      fence.nonce = nonce
    }
    fence.expiresAtMs = expiresAtMs
    return { ...known, nonce: fence.nonce }
  }

  lease(key: string, owner: string, leaseMs: number): void {
    const fence = this.#fence(key)
    if (!fence) return
    fence.owner = owner
    fence.untilMs = this.nowMs() + leaseMs
  }

  /** Whether the lease is still its owner's, under the fence that it was given under. */
  renewLease(key: string, owner: string, nonce: string, leaseMs: number): boolean {
    const fence = this.#fence(key)
    if (fence?.owner !== owner || fence.nonce !== nonce) return false
    fence.untilMs = this.nowMs() + leaseMs
    return true
  }

  await(key: string): void {
    const fence = this.#fence(key)
    if (fence) fence.isAwaited = true
  }

  /** Takes the lease back from its owner; whether it had it, and whether somebody waits. */
  endLease(key: string, owner: string): { readonly isAwaited: boolean } | undefined {
    const fence = this.#fence(key)
    if (fence?.owner !== owner) return undefined
    fence.owner = undefined
    fence.untilMs = undefined
    return fence
  }

  endWait(key: string): void {
    const fence = this.#fence(key)
    if (fence) fence.isAwaited = false
  }

  addTombstone(key: string, read: ReadFence, write: WriteId): void {
    const fence = this.#fences.get(key) as StoredFence
    const { incarnation } = write
    const toldAtMs = this.nowMs()
    if (read.tombstones.length < mostTombstones) {
      put(fence, { ...write, merged: false, toldAtMs })
      return
    }
    let largest = write.xid
    for (const tombstone of read.tombstones) {
      if (tombstone.incarnation !== incarnation) continue
      fence.tombstones.delete(field(tombstone, tombstone.merged))
      if (tombstone.xid > largest) largest = tombstone.xid
    }
    put(fence, { incarnation, xid: largest, merged: true, toldAtMs })
  }

  fillOne(
    keys: { readonly fence: string; readonly value: string },
    fence: ReadFence | undefined,
    nonce: string,
    bytes: Buffer,
    expireMs: number,
    over: readonly Incarnation[],
  ): FillAnswer {
    if (!fence || fence.nonce !== nonce || fence.expired.length > 0) return 'nonce-changed'
    const { snapshot } = headerOf(bytes) as Header
    for (const tombstone of fence.tombstones) {
      if (tombstone.incarnation !== snapshot.incarnation) {
        if (!over.includes(tombstone.incarnation)) return 'tombstone'
      } else if (tombstone.merged) {
        if (tombstone.xid >= snapshot.xmin) return 'tombstone'
      } else if (!visible(tombstone, snapshot)) return 'tombstone'
    }
    const present = this.headerAt(keys.value)?.snapshot
    if (present && present.incarnation === snapshot.incarnation && !covers(snapshot, present)) {
      return 'not-covered'
    }
    this.set(keys.value, bytes, expireMs)
    this.#fences.delete(keys.fence)
    return 'filled'
  }

  // ---- what is published

  tell(message: Told): void {
    for (const listener of this.#listeners) listener(message)
  }

  #fence(key: string): StoredFence | undefined {
    const fence = this.#fences.get(key)
    if (!fence || fence.expiresAtMs > this.nowMs()) return fence
    this.#fences.delete(key)
    return undefined
  }
}

let servers = 0
const newIdentity = (): string => String(++servers).padStart(20, '0')

/** One that is told again comes last. */
function put({ tombstones }: StoredFence, one: Tombstone & { readonly toldAtMs: number }): void {
  tombstones.delete(field(one, one.merged))
  tombstones.set(field(one, one.merged), one)
}

const field = ({ incarnation, xid }: WriteId, merged: boolean): string =>
  `${merged ? 'm' : 't'}${incarnation}${xid}`
