/**
 * How many different keys have come up in this minute: a bound on what somebody can fill the cache
 * with who makes up ids. A bit for each key's hash, counted linearly (K.-Y. Whang, B. Vander-Zanden,
 * H. Taylor: A Linear-Time Probabilistic Counting Algorithm for Database Applications, TODS 1990).
 */

import { hashOf } from '../model/hash.ts'
import type { L1Key } from '../model/id.ts'

const minuteMs = 60_000
/** With fewer, more keys above the bound find a bit that is another's: at the bound it is one in nine. */
const bitsPerKey = 8
const leastBits = 64
/** Hashes have 31 bits. */
const mostBits = 2 ** 31

export interface NewKeysOptions {
  /** Keys a minute. */
  readonly limit: number
  /** Once a minute, when a key is refused for the first time. */
  readonly full: () => void
}

export class NewKeys {
  readonly #options: NewKeysOptions
  readonly #bits: number
  /** So many bits are set when the bound is reached: keys that share a bit are reckoned in. */
  readonly #mostSet: number
  /** Made with the first key of a minute: most entities need a page or two of it. */
  #isSet: Uint8Array | undefined
  #set = 0
  #untilMs = 0
  #isFull = false

  constructor(options: NewKeysOptions) {
    this.#options = options
    const wanted = 2 ** Math.ceil(Math.log2(options.limit * bitsPerKey))
    this.#bits = Math.min(mostBits, Math.max(leastBits, wanted))
    this.#mostSet = Math.ceil(this.#bits * -Math.expm1(-options.limit / this.#bits))
  }

  /** Whether the key may be cached: it came up in this minute before, or is not one too many. */
  admits(key: L1Key, nowMs: number): boolean {
    if (nowMs >= this.#untilMs) this.#begin(nowMs)
    this.#isSet ??= new Uint8Array(this.#bits / 8)
    const place = hashOf(key) & (this.#bits - 1)
    const byte = this.#isSet[place >>> 3] as number
    const bit = 1 << (place & 7)
    if ((byte & bit) !== 0) return true
    if (this.#set >= this.#mostSet) {
      if (!this.#isFull) this.#options.full()
      this.#isFull = true
      return false
    }
    this.#isSet[place >>> 3] = byte | bit
    this.#set++
    return true
  }

  #begin(nowMs: number): void {
    this.#untilMs = nowMs + minuteMs
    this.#isSet = undefined
    this.#set = 0
    this.#isFull = false
  }
}
