/** Numbers that a seed gives: each name has a row of its own, so that one act less changes little else. */
import { seededRandom } from '../../src/demo/random.ts'

export class Chance {
  readonly #seed: number
  readonly next: () => number

  constructor(seed: number) {
    this.#seed = seed
    this.next = seededRandom(seed)
  }

  of(name: string): Chance {
    let hash = 2_166_136_261 ^ this.#seed
    for (let index = 0; index < name.length; index++) {
      hash = Math.imul(hash ^ name.charCodeAt(index), 16_777_619)
    }
    return new Chance(hash >>> 0)
  }

  hits(share: number): boolean {
    return this.next() < share
  }

  pick<T>(some: readonly T[]): T {
    return some[Math.floor(this.next() * some.length)] as T
  }

  below(count: number): number {
    return Math.floor(this.next() * count)
  }
}
