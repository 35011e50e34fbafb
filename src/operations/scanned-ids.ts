import { everyPlace, type FilterShape, hashId, type Seed } from '../model/bloom.ts'

/** So many of the scanned ids are asked for when all lie in Redis. */
const sampleSize = 1_000
/** Ids that are hashed in one go, about a millisecond: reads of this process come in between. */
const idsAGo = 4_000

/** The bits of the ids that a scan has brought, and some of the ids. */
export class ScannedIds {
  readonly bitmap: Uint8Array
  /** Each scanned id is as likely to be here as any other (J. S. Vitter, "Random Sampling with a Reservoir", TOMS 1985, algorithm R). */
  readonly sample: string[] = []
  /** As far as the bits tell them from those before: repeats don't count. */
  distinct = 0
  scanned = 0
  readonly #seed: Seed
  readonly #shape: FilterShape
  readonly #random: () => number
  #isNew = false

  constructor(seed: Seed, { bits, places }: FilterShape, random: () => number) {
    this.bitmap = new Uint8Array(bits / 8)
    this.#seed = seed
    this.#shape = { bits, places }
    this.#random = random
  }

  async add(ids: readonly string[]): Promise<void> {
    for (let from = 0; from < ids.length; from += idsAGo) {
      if (from > 0) await new Promise((resolve) => setImmediate(resolve))
      const to = Math.min(ids.length, from + idsAGo)
      for (let index = from; index < to; index++) this.#add(ids[index] as string)
    }
  }

  setBits(): number {
    let set = 0
    for (const byte of this.bitmap) set += bitsOf[byte] as number
    return set
  }

  #add(id: string): void {
    this.#isNew = false
    everyPlace(hashId(this.#seed, id), this.#shape, this.#set)
    if (this.#isNew) this.distinct++
    this.scanned++
    if (this.sample.length < sampleSize) {
      this.sample.push(id)
      return
    }
    const place = Math.floor(this.#random() * this.scanned)
    if (place < sampleSize) this.sample[place] = id
  }

  readonly #set = (place: number): boolean => {
    const index = place >>> 3
    const bit = 1 << (place & 7)
    const byte = this.bitmap[index] as number
    if ((byte & bit) === 0) {
      this.bitmap[index] = byte | bit
      this.#isNew = true
    }
    return true
  }
}

const bitsOf = Uint8Array.from(
  { length: 256 },
  (_, byte) => byte.toString(2).replaceAll('0', '').length,
)
