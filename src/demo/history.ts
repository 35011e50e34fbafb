/**
 * What one process did, one record an answer: 25 bytes each, in chunks, so that a run's memory is
 * bounded by what has not been judged yet. Times are nanoseconds of the machine's monotonic clock
 * since the run began: they can be compared over processes.
 */

export type Tier = 'l1' | 'l2' | 'source'

/** A write whose call has returned. */
export interface Write {
  readonly kind: 'write'
  readonly id: number
  /** The version that it gave to the row. */
  readonly version: number
  readonly startNs: number
  readonly endNs: number
  readonly fenced: boolean
}

/** A read that was answered. */
export interface Read {
  readonly kind: 'read'
  readonly id: number
  /** The version of the row that it got. */
  readonly version: number
  readonly startNs: number
  readonly endNs: number
  readonly consistency: 'bounded' | 'strong'
  /** The version that the ticket it carried stands for; 0: it carried none. */
  readonly ticketVersion: number
  /** `undefined`: `get` and `getMany` don't say. */
  readonly tier: Tier | undefined
  /** The answer said that it misses nothing older than the bound; `get` and `getMany` don't say. */
  readonly isProven: boolean
}

export type Operation = Write | Read

const recordBytes = 25
const recordsPerChunk = 2_000
const longestNs = 2 ** 32 - 1
const tiers = [undefined, 'l1', 'l2', 'source'] as const

const isWrite = 1
const isFenced = 2
const isStrong = 4
const isProven = 8
const tierShift = 4

export class HistoryWriter {
  readonly #flush: (chunk: Uint8Array) => void
  #view = emptyView()
  #records = 0

  /** `flush` gets each chunk when it is full, and when asked to. */
  constructor(flush: (chunk: Uint8Array) => void) {
    this.#flush = flush
  }

  add(operation: Operation): void {
    const at = this.#records * recordBytes
    const view = this.#view
    view.setUint32(at, operation.id, true)
    view.setUint32(at + 4, operation.version, true)
    view.setFloat64(at + 8, operation.startNs, true)
    view.setUint32(at + 16, Math.min(longestNs, operation.endNs - operation.startNs), true)
    if (operation.kind === 'write') {
      view.setUint8(at + 20, isWrite | (operation.fenced ? isFenced : 0))
    } else {
      const strong = operation.consistency === 'strong' ? isStrong : 0
      const proven = operation.isProven ? isProven : 0
      view.setUint8(at + 20, strong | proven | (tiers.indexOf(operation.tier) << tierShift))
      view.setUint32(at + 21, operation.ticketVersion, true)
    }
    this.#records++
    if (this.#records === recordsPerChunk) this.flush()
  }

  flush(): void {
    if (this.#records === 0) return
    const chunk = new Uint8Array(this.#view.buffer, 0, this.#records * recordBytes)
    this.#view = emptyView()
    this.#records = 0
    this.#flush(chunk)
  }
}

function emptyView(): DataView<ArrayBuffer> {
  return new DataView(new ArrayBuffer(recordBytes * recordsPerChunk))
}

export function* readChunk(chunk: Uint8Array): Generator<Operation> {
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  for (let at = 0; at < chunk.byteLength; at += recordBytes) {
    const flags = view.getUint8(at + 20)
    const startNs = view.getFloat64(at + 8, true)
    const common = {
      id: view.getUint32(at, true),
      version: view.getUint32(at + 4, true),
      startNs,
      endNs: startNs + view.getUint32(at + 16, true),
    }
    if (flags & isWrite) yield { kind: 'write', ...common, fenced: (flags & isFenced) !== 0 }
    else {
      yield {
        kind: 'read',
        ...common,
        consistency: flags & isStrong ? 'strong' : 'bounded',
        ticketVersion: view.getUint32(at + 21, true),
        tier: tiers[flags >> tierShift],
        isProven: (flags & isProven) !== 0,
      }
    }
  }
}
