/**
 * The ports of the two-level Bloom filter (DESIGN §8). Each entity has at most two bitmaps in L2: the
 * newest that is ready answers, one may be being built, and every invalidation adds its ids to both,
 * whoever sends it and whether its process knows of the filter or not.
 */
import type { FilterHeader, FilterShape, Seed } from './bloom.ts'
import type { Incarnation, Snapshot, Xid } from './snapshot.ts'

/** Level 1, in this process: a copy of the newest bitmap, with what this process was told of since. */
export interface LocalFilter {
  /** `undefined`: there is no copy yet. */
  readonly generation: number | undefined
  /** `false`: L2's bitmap may say "no". Without a copy, always. */
  has(text: string): boolean
  add(text: string): void
}

/** What the newest bitmap said of an id that it doesn't have, at one instant with the barrier beside it. */
export interface Refusal {
  readonly barrier: Snapshot
  readonly generation: number
}

/** How far a build is. */
export interface BuildProgress {
  /** Where the scan goes on; `undefined`: at the beginning. */
  readonly cursor: string | undefined
  readonly scanned: number
  /** How many ids there will be, about. */
  readonly expected: number
}

export interface Build extends FilterShape {
  readonly entity: string
  readonly generation: number
  /** Who builds: a token of this build alone. */
  readonly owner: string
}

/** A scan that began when every write below `xid` had ended, in this incarnation. */
export interface ScanStart {
  readonly incarnation: Incarnation
  readonly xid: Xid
}

export type Begun =
  /** A new bitmap: from now on invalidations add to it. */
  | { readonly kind: 'declared'; readonly build: Build }
  /** One that a builder has left: all that it had merged is there, and no addition was missed. */
  | {
      readonly kind: 'resumed'
      readonly build: Build
      readonly start: ScanStart
      readonly progress: BuildProgress
    }
  /** Another builder is at it. */
  | { readonly kind: 'held' }
  | { readonly kind: 'unavailable'; readonly cause: unknown }

/** `lost`: the bitmap or the lease is gone, or its server is another one: what was built is void. */
export type BuildAnswer =
  | { readonly kind: 'done' }
  | { readonly kind: 'lost' }
  | { readonly kind: 'unavailable'; readonly cause: unknown }

export interface FilterStatus {
  readonly kind: 'status'
  /** The one that answers; `undefined`: none does, and all is "maybe". */
  readonly current: FilterHeader | undefined
  /** Why none does, or a rebuild is due: what values have to cover is not covered by it. */
  readonly isOutlived: boolean
  /** A barrier lies beside it. Without one nothing is answered, and what is built may be outlived by the first. */
  readonly hasBarrier: boolean
  readonly building: (FilterHeader & BuildProgress & { readonly isHeld: boolean }) | undefined
  /** Somebody has asked for a rebuild, which has not begun. */
  readonly isRequested: boolean
}

export interface Unavailable {
  readonly kind: 'unavailable'
  readonly cause: unknown
}

/** Level 2. What can't be answered in time is `unavailable`, never an exception. */
export interface L2Filters {
  /** What the entity's ids are hashed with there. */
  seedOf(entity: string): Seed
  /** Also puts off the day when the entity's filters go by themselves. */
  status(entity: string): Promise<FilterStatus | Unavailable>
  /** Asks whoever has the entity to rebuild. */
  request(entity: string): Promise<BuildAnswer>
  /**
   * Takes the builder's lease. A build whose scan had begun and that was left is gone on with, in the
   * shape that it has, where that fits `shape` and the server still is the one that it was declared
   * on; else a new bitmap is declared. `expected`: ids.
   */
  begin(entity: string, shape: FilterShape, expected: number, leaseMs: number): Promise<Begun>
  /** With 0 it gives the lease back, and leaves the build to whoever begins next. */
  renew(build: Build, leaseMs: number): Promise<BuildAnswer>
  /** Every write below `start.xid` has ended: the scan begins. */
  started(build: Build, start: ScanStart): Promise<BuildAnswer>
  /** Sets the bits of `part` (`build.bits / 8` bytes) too, and remembers how far the scan is, in one step. */
  merge(build: Build, part: Uint8Array, progress: BuildProgress): Promise<BuildAnswer>
  /** From now on it answers, and the one before is dropped. */
  finish(build: Build): Promise<BuildAnswer>
  /** Drops what was built, and gives the lease back. */
  abandon(build: Build): Promise<void>
  /** Which of the ids the bitmap of this generation says "no" to; all are "maybe" without it. */
  missing(entity: string, generation: number, ids: readonly string[]): Promise<readonly boolean[]>
  /** Some bytes of the bits of the newest that is ready; `undefined`: it is another one by now, or none. */
  read(
    entity: string,
    generation: number,
    offset: number,
    bytes: number,
  ): Promise<Buffer | undefined>
}

export interface IdPage {
  readonly ids: readonly string[]
  /** Where the page behind it begins. */
  readonly next: string | undefined
}

/** The ids that exist, as text in any order; each at least once. */
export interface IdScan {
  /** Can `pages` go on at a cursor? Else it begins at the beginning, whatever it is given. */
  readonly canResume: boolean
  /** About how many there are; `undefined`: nobody knows before they are read. */
  count(signal: AbortSignal): Promise<number | undefined>
  /** Each page sees what had committed before it was asked for. Whoever leaves early ends it. */
  pages(cursor: string | undefined, signal: AbortSignal): AsyncIterable<IdPage>
  /** An xid of one's own, whose transaction has ended. */
  xid(signal: AbortSignal): Promise<ScanStart>
  /** Has every write below `start.xid` ended? `outlived`: the incarnation is another one. */
  stateOf(start: ScanStart, signal: AbortSignal): Promise<'ended' | 'open' | 'outlived'>
  /** Lets its connections go; they are opened again when it is asked again. */
  rest(): void
}
