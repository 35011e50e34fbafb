import type { Key, ReadOptions } from '../types.ts'

export interface RecordedRead {
  readonly method: 'get' | 'getMany' | 'getEntry' | 'peek'
  /** The entity's name. */
  readonly entity: string
  readonly ids: readonly unknown[]
  /** Only where the call had some. */
  readonly options?: ReadOptions
}

/** One call of a loader. */
export interface RecordedLoad {
  readonly entity: string
  readonly ids: readonly unknown[]
}

export interface RecordedWrite {
  readonly keys: readonly Key[]
}

interface Lists {
  readonly read: RecordedRead[]
  readonly load: RecordedLoad[]
  readonly write: RecordedWrite[]
  readonly invalidation: RecordedWrite[]
}

/** One of them all; `atMs`: on the test's clock, since the cache was opened. */
export type RecordedCall = {
  [Kind in keyof Lists]: { readonly kind: Kind; readonly atMs: number } & Lists[Kind][number]
}[keyof Lists]

/**
 * What was asked of the cache, and what the cache asked of the loaders, in order. After 100,000
 * calls it begins anew.
 */
export interface Recorder {
  /** By anybody, answered or not. */
  readonly reads: readonly RecordedRead[]
  readonly loads: readonly RecordedLoad[]
  /** Those that have returned: what was rolled back is none. */
  readonly writes: readonly RecordedWrite[]
  /** Calls of `invalidate` that have returned. */
  readonly invalidations: readonly RecordedWrite[]
  /** All of the above, in one order. */
  readonly all: readonly RecordedCall[]
  /** Forgets everything so far, so that a test can look at what comes next. */
  clear(): void
}

/** What a test looks at is shorter; what runs for longer must not grow for ever. */
const mostCalls = 100_000

export class CallRecorder implements Recorder {
  readonly #nowMs: () => number
  readonly #beganAtMs: number
  readonly #lists: Lists = { read: [], load: [], write: [], invalidation: [] }
  readonly all: RecordedCall[] = []

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs
    this.#beganAtMs = nowMs()
  }

  get reads(): readonly RecordedRead[] {
    return this.#lists.read
  }

  get loads(): readonly RecordedLoad[] {
    return this.#lists.load
  }

  get writes(): readonly RecordedWrite[] {
    return this.#lists.write
  }

  get invalidations(): readonly RecordedWrite[] {
    return this.#lists.invalidation
  }

  clear(): void {
    this.all.length = 0
    for (const list of Object.values(this.#lists)) list.length = 0
  }

  add<Kind extends keyof Lists>(kind: Kind, call: Lists[Kind][number]): void {
    if (this.all.length >= mostCalls) this.clear()
    const list = this.#lists[kind] as Lists[Kind][number][]
    list.push(call)
    const atMs = this.#nowMs() - this.#beganAtMs
    this.all.push({ kind, atMs, ...call } as RecordedCall)
  }
}
