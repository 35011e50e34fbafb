/** All strong reads of a history, to find those that saw less than one that was over before. */
import type { ReadLine } from './format.ts'

export interface Seen {
  readonly read: ReadLine
  readonly line: number
}

/** The second began after the first was over, and saw less; no other such first saw more. */
export type WentBack = readonly [first: Seen, second: Seen]

export class StrongReads {
  readonly #ofIds = new Map<number, Seen[]>()

  add(read: ReadLine, line: number): void {
    const known = this.#ofIds.get(read.id)
    if (known) known.push({ read, line })
    else this.#ofIds.set(read.id, [{ read, line }])
  }

  *wentBack(): Generator<WentBack> {
    for (const reads of this.#ofIds.values()) yield* amongReadsOfOneId(reads)
  }
}

function* amongReadsOfOneId(reads: readonly Seen[]): Generator<WentBack> {
  const byEnd = [...reads].sort((one, other) => one.read.end - other.read.end)
  const byBegin = [...reads].sort((one, other) => one.read.begin - other.read.begin)
  let over = 0
  let newest: Seen | undefined
  for (const second of byBegin) {
    for (;;) {
      const first = byEnd[over]
      if (!first || first.read.end >= second.read.begin) break
      if (!newest || first.read.version > newest.read.version) newest = first
      over++
    }
    if (newest && second.read.version < newest.read.version) yield [newest, second]
  }
}
