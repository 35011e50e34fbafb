/**
 * The ports of `src/model/ports.ts` in memory, so that the coordinator runs without any service:
 * a database with xids and snapshots (source and outbox), and an L2 with the rules of
 * `src/redis/scripts/*.lua`. The contract suites hold them to the real ones.
 */
import type { Clock } from '../../src/model/clock.ts'
import { idsPerOutboxRow } from '../../src/model/defaults.ts'
import type { AnyEntity } from '../../src/model/entity.ts'
import { decodeEnvelope, type Envelope, encodeEnvelope } from '../../src/model/envelope.ts'
import type {
  Drop,
  Dropped,
  EntityIds,
  FastPlane,
  Fill,
  FillAnswer,
  Grant,
  L2,
  Lookup,
  Nonce,
  Outbox,
  OutboxRow,
  Poll,
  Recorded,
  Source,
  Stored,
  Told,
  Tombstone,
  Transaction,
} from '../../src/model/ports.ts'
import {
  covers,
  type Incarnation,
  type Snapshot,
  visible,
  type WriteId,
  type Xid,
} from '../../src/model/snapshot.ts'
import { deferred } from '../../src/resilience/deadline.ts'

// ---------------------------------------------------------------- L2

const headerBytes = 42
const checkOffset = 36
const mostTombstones = 32
const mostXidsOfAHeader = 1_000

interface StoredFence {
  nonce: string
  owner: string | undefined
  untilMs: number | undefined
  isAwaited: boolean
  /** By field: t or m, incarnation, xid; when it was told. */
  readonly tombstones: Map<string, Tombstone & { readonly toldAtMs: number }>
  expiresAtMs: number
}

/** A fence as a script has read it: what is past the retention is left out. */
interface ReadFence {
  readonly nonce: string
  readonly owner: string | undefined
  readonly untilMs: number | undefined
  readonly isAwaited: boolean
  readonly tombstones: readonly Tombstone[]
  readonly expired: readonly string[]
}

/** What the scripts read of a value: its header, without a look at the checksum or the payload. */
interface Header {
  readonly snapshot: Snapshot
  readonly softExpiryMs: number
}

/** A Redis that several L2s may share, as several processes do. */
export class MemoryRedis {
  readonly #clock: Clock
  readonly #values = new Map<string, { readonly bytes: Buffer; readonly expiresAtMs: number }>()
  readonly #fences = new Map<string, StoredFence>()
  readonly #waits = new Map<string, Set<() => void>>()
  readonly #listeners: ((message: Told) => void)[] = []
  /** Why it can't be reached; `undefined` when it can. */
  down: Error | undefined

  constructor(clock: Clock) {
    this.#clock = clock
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
    return [...this.#waits.values()].reduce((sum, waits) => sum + waits.size, 0)
  }

  fastPlane(): FastPlane {
    return { listen: (told) => void this.#listeners.push(told) }
  }

  // ---- what the scripts do

  get(key: string): Buffer | undefined {
    const stored = this.#values.get(key)
    return stored && stored.expiresAtMs > this.nowMs() ? stored.bytes : undefined
  }

  set(key: string, bytes: Buffer, expireMs: number): void {
    this.#values.set(key, { bytes, expiresAtMs: this.nowMs() + expireMs })
  }

  unlink(key: string): void {
    this.#values.delete(key)
  }

  /** snapshotAt of fence.lua. */
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
      fence.tombstones.set(field(write, false), { ...write, merged: false, toldAtMs })
      return
    }
    let largest = write.xid
    for (const tombstone of read.tombstones) {
      if (tombstone.incarnation !== incarnation) continue
      fence.tombstones.delete(field(tombstone, tombstone.merged))
      if (tombstone.xid > largest) largest = tombstone.xid
    }
    const merged = { incarnation, xid: largest, merged: true, toldAtMs }
    fence.tombstones.set(field(merged, true), merged)
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

  wake(key: string): void {
    for (const done of [...(this.#waits.get(key) ?? [])]) done()
  }

  wait(key: string, pollAfterMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const waits = this.#waits.get(key) ?? new Set()
      const done = (): void => {
        cancel()
        signal.removeEventListener('abort', done)
        waits.delete(done)
        if (waits.size === 0) this.#waits.delete(key)
        resolve()
      }
      const cancel = this.#clock.after(pollAfterMs, done)
      if (signal.aborted) return done()
      signal.addEventListener('abort', done, { once: true })
      waits.add(done)
      this.#waits.set(key, waits)
    })
  }

  #fence(key: string): StoredFence | undefined {
    const fence = this.#fences.get(key)
    if (!fence || fence.expiresAtMs > this.nowMs()) return fence
    this.#fences.delete(key)
    return undefined
  }
}

export interface MemoryL2Options {
  readonly redis: MemoryRedis
  readonly tombstoneRetentionMs?: number
}

/** What one process was asked to do, in order. */
interface L2Call {
  readonly act: 'lookup' | 'acquire' | 'fill' | 'release' | 'invalidate'
  readonly ids: readonly string[]
}

export interface MemoryL2 extends L2 {
  readonly calls: readonly L2Call[]
}

let owners = 0

/** The L2 of one process. */
export function memoryL2({ redis, tombstoneRetentionMs = 60_000 }: MemoryL2Options): MemoryL2 {
  const owner = `owner-${++owners}`
  let nonces = 0
  const newNonce = (): string => `${owner}:${nonces++}`
  const calls: L2Call[] = []
  const envelopeOf = (fill: Fill): Buffer => {
    const createdAtMs = redis.nowMs() - fill.ageMs
    const { snapshot, payload, ttlMs } = fill
    return encodeEnvelope({ snapshot, payload, createdAtMs, softExpiryMs: createdAtMs + ttlMs })
  }
  const expireMsOf = (fill: Fill): number => Math.max(1, Math.ceil(fill.ttlMs + fill.graceMs))
  const keysOf = (entity: AnyEntity, id: string): { fence: string; value: string } => ({
    fence: fenceKey(entity.name, id),
    value: valueKey(entity.name, entity.version, id),
  })

  /** One call: it travels, is done at once, and its answer travels back. */
  const call = async <T>(
    entry: L2Call,
    run: () => T,
    unavailable: (cause: unknown) => T,
  ): Promise<T> => {
    calls.push(entry)
    await Promise.resolve()
    if (redis.down) return unavailable(redis.down)
    const answer = run()
    await Promise.resolve()
    return answer
  }

  return {
    calls,

    lookup: (entity, ids) =>
      call<readonly Lookup[]>(
        { act: 'lookup', ids },
        () => ids.map((id) => lookupOf(redis.get(keysOf(entity, id).value), redis, entity.graceMs)),
        (cause) => ids.map(() => ({ kind: 'unavailable', cause })),
      ),

    acquire: (entity, ids, { incarnation, leaseMs, insist }) =>
      call<readonly Grant[]>(
        { act: 'acquire', ids },
        () =>
          ids.map((id): Grant => {
            const keys = keysOf(entity, id)
            const nowMs = redis.nowMs()
            const present = insist ? undefined : redis.headerAt(keys.value)
            if (present?.snapshot.incarnation === incarnation && present.softExpiryMs > nowMs) {
              const envelope = decodeEnvelope(redis.get(keys.value) as Buffer)
              if (!envelope) return { kind: 'unavailable', cause: new Error('corrupt envelope') }
              return { kind: 'value', stored: storedOf(envelope, nowMs) }
            }
            const fence = redis.openFence(keys.fence, tombstoneRetentionMs, newNonce())
            const { untilMs, tombstones } = fence
            if (untilMs !== undefined && untilMs > nowMs && fence.owner !== owner) {
              redis.await(keys.fence)
              return { kind: 'wait', pollAfterMs: untilMs - nowMs, tombstones }
            }
            redis.lease(keys.fence, owner, Math.ceil(leaseMs))
            return { kind: 'lease', id, nonce: fence.nonce as Nonce, tombstones }
          }),
        (cause) => ids.map(() => ({ kind: 'unavailable', cause })),
      ),

    fill: (entity, fills) =>
      call<readonly FillAnswer[]>(
        { act: 'fill', ids: fills.map(({ lease }) => lease.id) },
        () =>
          fills.map((fill) => {
            const keys = keysOf(entity, fill.lease.id)
            const fence = redis.readFence(keys.fence, tombstoneRetentionMs)
            const { nonce } = fill.lease
            const bytes = envelopeOf(fill)
            const answer = redis.fillOne(keys, fence, nonce, bytes, expireMsOf(fill), fill.over)
            if (answer !== 'filled') redis.endLease(keys.fence, owner)
            if (fence?.isAwaited) redis.wake(keys.value)
            return answer
          }),
        () => fills.map(() => 'unavailable'),
      ),

    release: (entity, leases) =>
      call<void>(
        { act: 'release', ids: leases.map(({ id }) => id) },
        () => {
          for (const { id } of leases) {
            const keys = keysOf(entity, id)
            const held = redis.endLease(keys.fence, owner)
            const isAwaited = held?.isAwaited
            if (held) redis.endWait(keys.fence)
            if (isAwaited) redis.wake(keys.value)
          }
        },
        () => undefined,
      ),

    filled: (entity, id, pollAfterMs, signal) =>
      redis.wait(keysOf(entity, id).value, pollAfterMs, signal),

    invalidate: (write, drops) =>
      call<Dropped>(
        { act: 'invalidate', ids: drops.map(({ id }) => id) },
        () => {
          const nonces = drops.map((drop) => {
            const proposed = newNonce()
            return invalidateOne(redis, write, drop, tombstoneRetentionMs, proposed, (fill) => ({
              bytes: envelopeOf(fill),
              expireMs: expireMsOf(fill),
            }))
          })
          const keys = drops.map(({ entity, id }) => ({ entity, id }))
          redis.tell({ write, keys })
          return { kind: 'dropped', nonces }
        },
        (cause) => ({ kind: 'unavailable', cause }),
      ),
  }
}

/** invalidate.lua for one id: the nonce of its fence, '' where none is needed. */
function invalidateOne(
  redis: MemoryRedis,
  write: WriteId,
  { entity, id, versions, through }: Drop,
  retentionMs: number,
  proposedNonce: string,
  packed: (fill: Fill) => { bytes: Buffer; expireMs: number },
): Nonce {
  const fence = fenceKey(entity, id)
  let isSeen = false
  for (const version of versions) {
    const key = valueKey(entity, version, id)
    const present = redis.headerAt(key)
    if (present && visible(write, present.snapshot)) isSeen = true
    else redis.unlink(key)
  }
  if (isSeen) return '' as Nonce
  const opened = redis.openFence(fence, retentionMs, proposedNonce)
  redis.addTombstone(fence, opened, write)
  if (!through || !versions.includes(through.version)) return opened.nonce as Nonce
  const read = redis.readFence(fence, retentionMs) as ReadFence
  const value = valueKey(entity, through.version, id)
  const { bytes, expireMs } = packed(through)
  redis.fillOne({ fence, value }, read, through.lease.nonce, bytes, expireMs, [])
  if (read.isAwaited) redis.wake(value)
  return read.nonce as Nonce
}

const valueKey = (entity: string, version: number, id: string): string =>
  `{${entity}:${id}}:v${version}`
const fenceKey = (entity: string, id: string): string => `{${entity}:${id}}:f`
const field = ({ incarnation, xid }: WriteId, merged: boolean): string =>
  `${merged ? 'm' : 't'}${incarnation}${xid}`

/** snapshotOf of fence.lua; the layout is that of `src/model/envelope.ts`. */
function headerOf(bytes: Buffer): Header | undefined {
  if (bytes.length < headerBytes || bytes[0] !== 0x4c) return undefined
  const count = bytes.readUInt16BE(22)
  const hasOwn = (bytes[1] as number) % 4 >= 2
  const xids = count + (hasOwn ? 1 : 0)
  const length = headerBytes + 4 * xids
  if (xids > mostXidsOfAHeader + 1 || bytes.length < length) return undefined
  if (headerCheckOf(bytes, length) !== bytes.readUInt16BE(checkOffset)) return undefined
  const xmin = bytes.readUInt32BE(10) * 2 ** 32 + bytes.readUInt32BE(14)
  const xidAt = (index: number): Xid => (xmin + bytes.readUInt32BE(headerBytes + 4 * index)) as Xid
  return {
    snapshot: {
      incarnation: bytes.toString('hex', 2, 10) as Incarnation,
      xmin: xmin as Xid,
      xmax: (xmin + bytes.readUInt32BE(18)) as Xid,
      xip: Array.from({ length: count }, (_, index) => xidAt(index)),
      own: hasOwn ? xidAt(count) : undefined,
    },
    softExpiryMs: bytes.readUIntBE(30, 6),
  }
}

/** isIntact of fence.lua. */
function headerCheckOf(bytes: Buffer, length: number): number {
  let sum = 0
  for (let index = 0; index < length; index++) {
    if (index < checkOffset || index >= headerBytes) sum += (index + 1) * (bytes[index] as number)
  }
  return sum % 65_521
}

function lookupOf(bytes: Buffer | undefined, redis: MemoryRedis, graceMs: number): Lookup {
  const envelope = bytes && decodeEnvelope(bytes)
  if (!envelope) return { kind: 'miss', isCorrupt: bytes !== undefined }
  const stored = storedOf(envelope, redis.nowMs())
  if (stored.freshForMs > 0) return { kind: 'fresh', stored }
  return stored.freshForMs + graceMs > 0
    ? { kind: 'stale', stored }
    : { kind: 'miss', isCorrupt: false }
}

function storedOf(envelope: Envelope, nowMs: number): Stored {
  return {
    snapshot: envelope.snapshot,
    payload: envelope.payload,
    freshForMs: envelope.softExpiryMs - nowMs,
    ageMs: Math.max(0, nowMs - envelope.createdAtMs),
  }
}

// ---------------------------------------------------------------- the source and its outbox

type State = 'open' | 'committed' | 'aborted'

interface Version {
  readonly xid: Xid
  readonly row: object | undefined
}

interface MemoryOutboxRow extends OutboxRow {
  applied: boolean
  readonly incarnation: Incarnation
  readonly createdAtMs: number
}

/** What a loader gets, and (as `MemoryTx`) a write's callback. */
export interface MemoryDb {
  /** The rows of the ids that exist. */
  rows(entity: string, ids: readonly unknown[]): readonly object[]
}

export interface MemoryTx extends MemoryDb {
  /** Writes a row; `undefined` deletes it. Returns the row, as `returning *` does. */
  put<Row extends object | undefined>(entity: string, id: unknown, row: Row): Row
}

export interface MemoryDatabaseOptions {
  readonly clock: Clock
  readonly namespaceHasL2?: boolean
  readonly versions?: ReadonlyMap<string, readonly number[]>
  /** Rows that one poll returns. */
  readonly mostRowsAPoll?: number
  readonly claimBatch?: number
}

/** One PostgreSQL: transactions, snapshots, row versions, and the outbox. */
export class MemoryDatabase implements Outbox {
  readonly #options: Required<MemoryDatabaseOptions>
  readonly #states = new Map<Xid, State>()
  readonly #rows = new Map<string, Version[]>()
  #outboxRows: MemoryOutboxRow[] = []
  #claimed = new Set<string>()
  #incarnations = 1
  #nextXid = 100
  #lastFinished = 99
  #rowIds = 0
  #pruned: Snapshot
  #pruneNext: Snapshot
  #pruneNextAtMs: number
  /** Why it can't be reached; `undefined` when it can. */
  down: Error | undefined

  constructor(options: MemoryDatabaseOptions) {
    this.#options = {
      namespaceHasL2: true,
      versions: new Map(),
      mostRowsAPoll: 10_000,
      claimBatch: 500,
      ...options,
    }
    this.#pruned = this.snapshot()
    this.#pruneNext = this.#pruned
    this.#pruneNextAtMs = options.clock.wallMs()
  }

  get incarnation(): Incarnation {
    return this.#incarnations.toString(16).padStart(16, '0') as Incarnation
  }

  /** xmax is one past the last finished xid: an open one may lie at or past it, unlisted. */
  snapshot(): Snapshot {
    const xmax = (this.#lastFinished + 1) as Xid
    const xip = [...this.#states].filter(([xid, state]) => state === 'open' && xid < xmax)
    const open = xip.map(([xid]) => xid).sort((a, b) => a - b)
    return { incarnation: this.incarnation, xmin: open[0] ?? xmax, xmax, xip: open }
  }

  /** What a reader sees under a snapshot; without one, the latest that was committed. */
  rows(
    entity: string,
    ids: readonly unknown[],
    snapshot = this.snapshot(),
    own?: Xid,
  ): readonly object[] {
    return ids.flatMap((id) => {
      const versions = this.#rows.get(`${entity}:${String(id)}`) ?? []
      const seen = versions.findLast(
        ({ xid }) =>
          xid === own ||
          (this.#states.get(xid) === 'committed' &&
            visible({ incarnation: snapshot.incarnation, xid }, snapshot)),
      )
      return seen?.row ?? []
    })
  }

  /** SQL of somebody who doesn't know the cache: a row, and no outbox row but by a trigger. */
  putUnnoticed(entity: string, id: unknown, row: object | undefined): Xid {
    const xid = this.takeXid()
    this.put(xid, entity, id, row)
    this.finish(xid, 'committed')
    return xid
  }

  /** The same with triggers installed. */
  putByTrigger(entity: string, id: unknown, row: object | undefined): Xid {
    const xid = this.takeXid()
    this.put(xid, entity, id, row)
    this.record(xid, [{ entity, ids: [String(id)] }])
    this.finish(xid, 'committed')
    return xid
  }

  /** Killed and started again: what was open is gone, and the xids that only aborted come again. */
  crash(): void {
    const committed = [...this.#states].filter(([, state]) => state === 'committed')
    const last = Math.max(99, ...committed.map(([xid]) => xid))
    for (const [xid, state] of this.#states) if (state !== 'committed') this.#states.delete(xid)
    this.#forgetRowsWithout()
    this.#incarnations++
    this.#nextXid = last + 1
    this.#lastFinished = last
    this.#pruned = this.snapshot()
    this.#pruneNext = this.#pruned
  }

  // ---- transactions

  takeXid(): Xid {
    const xid = this.#nextXid++ as Xid
    this.#states.set(xid, 'open')
    return xid
  }

  put(xid: Xid, entity: string, id: unknown, row: object | undefined): void {
    const key = `${entity}:${String(id)}`
    const versions = this.#rows.get(key)
    if (versions) versions.push({ xid, row })
    else this.#rows.set(key, [{ xid, row }])
  }

  record(xid: Xid, keys: readonly EntityIds[]): readonly string[] {
    const { clock, namespaceHasL2 } = this.#options
    return keys.flatMap(({ entity, ids }) =>
      Array.from({ length: Math.ceil(ids.length / idsPerOutboxRow) }, (_, index) => {
        const rowId = String(++this.#rowIds)
        this.#outboxRows.push({
          rowId,
          xid,
          entity,
          ids: ids.slice(index * idsPerOutboxRow, (index + 1) * idsPerOutboxRow),
          applied: !namespaceHasL2,
          incarnation: this.incarnation,
          createdAtMs: clock.wallMs(),
        })
        return rowId
      }),
    )
  }

  finish(xid: Xid, state: 'committed' | 'aborted'): void {
    if (this.#states.get(xid) !== 'open') return
    this.#states.set(xid, state)
    this.#lastFinished = Math.max(this.#lastFinished, xid)
    if (state === 'aborted') this.#forgetRowsWithout()
    else this.#putLast(xid)
  }

  stateOf(xid: Xid): State | undefined {
    return this.#states.get(xid)
  }

  get versions(): ReadonlyMap<string, readonly number[]> {
    return this.#options.versions
  }

  get openTransactions(): number {
    return [...this.#states.values()].filter((state) => state === 'open').length
  }

  /** Two transactions that wrote one row finish in the order in which they had its lock. */
  #putLast(xid: Xid): void {
    for (const versions of this.#rows.values()) {
      const own = versions.filter((version) => version.xid === xid)
      if (own.length === 0) continue
      const others = versions.filter((version) => version.xid !== xid)
      versions.splice(0, versions.length, ...others, ...own)
    }
  }

  #forgetRowsWithout(): void {
    const isGone = (xid: Xid): boolean =>
      this.#states.get(xid) === undefined || this.#states.get(xid) === 'aborted'
    this.#outboxRows = this.#outboxRows.filter(({ xid }) => !isGone(xid))
    for (const [key, versions] of this.#rows) {
      this.#rows.set(
        key,
        versions.filter(({ xid }) => !isGone(xid)),
      )
    }
  }

  // ---- the outbox

  get outboxRows(): readonly OutboxRow[] {
    return this.#outboxRows.filter(({ xid }) => this.#states.get(xid) === 'committed')
  }

  async poll(since: Snapshot | undefined, signal: AbortSignal): Promise<Poll> {
    await this.#travel(signal)
    const snapshot = this.snapshot()
    const { mostRowsAPoll } = this.#options
    const isNew = ({ xid }: OutboxRow): boolean =>
      since !== undefined && (xid >= since.xmax || since.xip.includes(xid))
    const seen = this.#outboxRows.filter((row) => visible(this.#write(row), snapshot))
    const fresh = seen.filter(isNew)
    const unapplied = seen.filter((row) => !row.applied && !isNew(row))
    const poll: Poll = {
      snapshot,
      rows: [...fresh.slice(0, mostRowsAPoll + 1), ...unapplied.slice(0, mostRowsAPoll + 1)].map(
        copyRow,
      ),
      missedNew: fresh.length > mostRowsAPoll,
      missedUnapplied: unapplied.length > mostRowsAPoll,
      pruned: this.#pruned,
    }
    await this.#travel(signal)
    return poll
  }

  async claim(
    minAgeMs: number,
    apply: Parameters<Outbox['claim']>[1],
    signal: AbortSignal,
  ): Promise<number> {
    await this.#travel(signal)
    const bornBefore = this.#options.clock.wallMs() - minAgeMs
    const rows = this.#outboxRows
      .filter((row) => this.#states.get(row.xid) === 'committed' && !row.applied)
      .filter((row) => row.createdAtMs <= bornBefore && !this.#claimed.has(row.rowId))
      .slice(0, this.#options.claimBatch)
    if (rows.length === 0) return 0
    for (const { rowId } of rows) this.#claimed.add(rowId)
    try {
      const applied = await apply({
        incarnation: this.incarnation,
        rows: rows.map(copyRow),
        versions: this.#options.versions,
      })
      this.#mark(applied)
      return applied.length
    } finally {
      for (const { rowId } of rows) this.#claimed.delete(rowId)
    }
  }

  async mark(rowIds: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#travel(signal)
    this.#mark(rowIds)
  }

  async prune(retentionMs: number, signal: AbortSignal): Promise<number> {
    await this.#travel(signal)
    const nowMs = this.#options.clock.wallMs()
    if (this.#pruneNextAtMs > nowMs - retentionMs) return 0
    this.#pruned = this.#pruneNext
    this.#pruneNext = this.snapshot()
    this.#pruneNextAtMs = nowMs
    const before = this.#outboxRows.length
    this.#outboxRows = this.#outboxRows.filter(
      (row) => !row.applied || !visible(this.#write(row), this.#pruned),
    )
    return before - this.#outboxRows.length
  }

  #mark(rowIds: readonly string[]): void {
    for (const row of this.#outboxRows) if (rowIds.includes(row.rowId)) row.applied = true
  }

  #write({ xid }: OutboxRow): WriteId {
    return { incarnation: this.incarnation, xid }
  }

  async #travel(signal: AbortSignal): Promise<void> {
    await Promise.resolve()
    signal.throwIfAborted()
    if (this.down) throw this.down
  }
}

const copyRow = ({ rowId, xid, entity, ids, applied }: OutboxRow): OutboxRow => ({
  rowId,
  xid,
  entity,
  ids,
  applied,
})

/** An error that says that the same may succeed when it is done again. */
export class RetryableError extends Error {}

export interface MemorySource extends Source<MemoryTx> {
  /** The ids of every call of a loader. */
  readonly loads: readonly (readonly unknown[])[]
  /** What a COMMIT comes to, one a commit; `committed` when there are no more. */
  readonly outcomes: CommitOutcome[]
}

type CommitOutcome =
  | 'committed'
  | 'aborted'
  /** It has committed, and nobody can say so. */
  | 'unknown, committed'
  | 'unknown, aborted'
  /** PostgreSQL refuses it, with this error. */
  | Error

export function memorySource(database: MemoryDatabase): MemorySource {
  const loads: (readonly unknown[])[] = []
  const outcomes: CommitOutcome[] = []
  const begun = new WeakMap<MemoryTx, MemoryTransaction>()
  const check = (): void => {
    if (database.down) throw database.down
  }
  return {
    loads,
    outcomes,

    load: async (entity, ids, signal) => {
      loads.push(ids)
      await Promise.resolve()
      check()
      if (entity.isolation === 'read committed') {
        const rows = await entity.load([...ids], { db: database, signal })
        return { rows, snapshot: undefined }
      }
      const snapshot = database.snapshot()
      const db: MemoryDb = { rows: (name, some) => database.rows(name, some, snapshot) }
      return { rows: await entity.load([...ids], { db, signal }), snapshot }
    },

    begin: async (signal) => {
      await Promise.resolve()
      signal.throwIfAborted()
      check()
      const transaction = memoryTransaction(database, () => outcomes.shift() ?? 'committed')
      begun.set(transaction.handle, transaction)
      return transaction
    },

    join: (tx) => {
      const transaction = begun.get(tx)
      if (!transaction) throw new Error('an open transaction of this database would do')
      const { handle, record, ended } = transaction
      return { handle, record, commit: () => ended, rollback: async () => {} }
    },

    isRetryable: (error) =>
      error instanceof RetryableError ||
      (error instanceof Error && error.cause instanceof RetryableError),
  }
}

interface MemoryTransaction extends Transaction<MemoryTx> {
  /** What whoever joined it learns of its end. */
  readonly ended: Promise<Awaited<ReturnType<Transaction<MemoryTx>['commit']>>>
}

function memoryTransaction(
  database: MemoryDatabase,
  nextOutcome: () => CommitOutcome,
): MemoryTransaction {
  const xid = database.takeXid()
  const { incarnation } = database
  /** The connection of a transaction ends with the life of the database that it began in. */
  const check = (): void => {
    if (incarnation !== database.incarnation) throw new Error('Connection terminated unexpectedly')
  }
  const { promise: ended, resolve: end } = deferred<Awaited<MemoryTransaction['ended']>>()
  return {
    ended,
    handle: {
      rows: (entity, ids) => database.rows(entity, ids, undefined, xid),
      put: (entity, id, row) => {
        check()
        database.put(xid, entity, id, row)
        return row
      },
    },
    record: async (keys): Promise<Recorded> => {
      await Promise.resolve()
      check()
      return {
        write: { incarnation, xid },
        rowIds: database.record(xid, keys),
        versions: database.versions,
      }
    },
    commit: async () => {
      await Promise.resolve()
      if (incarnation !== database.incarnation) return { kind: 'aborted' }
      const outcome = nextOutcome()
      const hasCommitted = outcome === 'committed' || outcome === 'unknown, committed'
      database.finish(xid, hasCommitted ? 'committed' : 'aborted')
      end(hasCommitted ? { kind: 'committed', versions: database.versions } : { kind: 'aborted' })
      if (outcome instanceof Error) throw outcome
      return outcome === 'committed'
        ? { kind: 'committed', versions: database.versions }
        : { kind: outcome === 'aborted' ? 'aborted' : 'unknown' }
    },
    rollback: async () => {
      await Promise.resolve()
      if (incarnation === database.incarnation) database.finish(xid, 'aborted')
      end({ kind: 'aborted' })
    },
  }
}
