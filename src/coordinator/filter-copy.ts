/**
 * Level 1 (DESIGN §8) of one entity: a copy of the newest bitmap, fetched in pieces, with the ids
 * that this process is told of meanwhile and since. It only spares questions: level 2 has the last
 * word, and whatever is missing here is asked for there.
 */
import { bytesOf, type FilterHeader, headerBytes, type Seed } from '../model/bloom.ts'
import type { Clock } from '../model/clock.ts'
import type { L2Filters, LocalFilter } from '../model/filter-ports.ts'
import { sleep } from '../resilience/deadline.ts'

/** Level 1 over the bits of a bitmap, which it keeps and adds to. */
export type OpenBits = (
  seed: Seed,
  header: FilterHeader,
  bits: Uint8Array,
) => Pick<LocalFilter, 'has' | 'add'>

export interface FilterCopyOptions {
  readonly entity: string
  readonly filters: L2Filters
  readonly open: OpenBits
  readonly clock: Clock
  /** There is another bitmap than the one that was copied. */
  readonly outdated: () => void
}

/** One answer of Redis, and what others get in between. */
const pieceBytes = 512 * 1024
const pauseMs = 20
/** A larger bitmap is not copied: each absent id is asked for at level 2. */
export const mostCopyBytes = 64 * 1024 * 1024

interface Copied {
  readonly generation: number
  readonly bits: ReturnType<OpenBits>
}

export class FilterCopy implements LocalFilter {
  readonly #options: FilterCopyOptions
  #copy: Copied | undefined
  #underWay: Copied | undefined
  /** Told of once: a bitmap that can't be copied now would else be looked at after each of its answers. */
  #noticed: number | undefined

  constructor(options: FilterCopyOptions) {
    this.#options = options
  }

  get generation(): number | undefined {
    return this.#copy?.generation
  }

  has(text: string): boolean {
    return this.#copy?.bits.has(text) ?? false
  }

  add(text: string): void {
    this.#copy?.bits.add(text)
    this.#underWay?.bits.add(text)
  }

  /** Level 2 has answered by the bitmap of this generation. */
  noticed(generation: number): void {
    if (generation === this.generation || generation === this.#noticed || this.#underWay) return
    this.#noticed = generation
    this.#options.outdated()
  }

  /** What lies at level 2 is none: whoever is asked there says "maybe". */
  drop(): void {
    this.#copy = undefined
  }

  /** Has the copy be one of this bitmap; what can't be had is had next time. Never rejects. */
  async follow(header: FilterHeader, signal: AbortSignal): Promise<void> {
    if (header.generation === this.generation || this.#underWay) return
    if (bytesOf(header) > mostCopyBytes) return this.drop()
    const { entity, filters, open } = this.#options
    const bits = new Uint8Array(bytesOf(header) - headerBytes)
    const { generation } = header
    this.#underWay = { generation, bits: open(filters.seedOf(entity), header, bits) }
    try {
      if (await this.#fetch(header, bits, signal)) this.#copy = this.#underWay
    } finally {
      this.#underWay = undefined
    }
  }

  /** Whether all of it came. */
  async #fetch(header: FilterHeader, bits: Uint8Array, signal: AbortSignal): Promise<boolean> {
    const { clock, entity, filters } = this.#options
    for (let offset = 0; offset < bits.length; offset += pieceBytes) {
      if (offset > 0) await sleep(pauseMs, signal, clock)
      if (signal.aborted) return false
      const bytes = Math.min(pieceBytes, bits.length - offset)
      const piece = await filters.read(entity, header.generation, offset, bytes)
      if (piece?.length !== bytes) return false
      // What was added here meanwhile stays.
      for (let index = 0; index < bytes; index++) {
        bits[offset + index] = (bits[offset + index] as number) | (piece[index] as number)
      }
    }
    return true
  }
}
