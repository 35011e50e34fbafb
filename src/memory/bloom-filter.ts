/**
 * Level 1 of the Bloom filter: `bloom-filters`' own, whose hashing is replaced by one that hashes an
 * id once and fast, to the places that it has in the bitmap of Redis (`model/bloom.ts`). So its bytes
 * are those of the bitmap behind the header: copied as they are, they need no JSON.
 */
import bloomFilters from 'bloom-filters'
import { everyPlace, type FilterShape, hashId, type Seed } from '../model/bloom.ts'

// Node finds none of its names: it is CommonJS, whose exports are getters.
const { BloomFilter: Filter, Hashing } = bloomFilters

export class BloomFilter {
  readonly shape: FilterShape
  readonly #filter: InstanceType<typeof Filter>

  /** `bytes`: of a bitmap of this shape, kept and changed here; without them, no bit is set. */
  constructor(seed: Seed, shape: FilterShape, bytes?: Uint8Array) {
    this.shape = shape
    this.#filter = new Filter(shape.bits, shape.places)
    this.#filter._hashing = new SeededHashing(seed, shape)
    if (!bytes) return
    if (bytes.length !== shape.bits / 8) {
      throw new RangeError(`${bytes.length} bytes are no filter of ${shape.bits} bits`)
    }
    this.#filter._filter.array = bytes
  }

  /** `false`: it has not been added. */
  has(text: string): boolean {
    return this.#filter.has(text)
  }

  add(text: string): void {
    this.#filter.add(text)
  }

  /** Its own, not a copy: `shape.bits / 8` of them, the lowest bit of each first. */
  get bytes(): Uint8Array {
    return this.#filter._filter.array
  }
}

class SeededHashing extends Hashing {
  readonly #seed: Seed
  readonly #shape: FilterShape
  /** The same for each call: its caller is done with it before the next. */
  readonly #places: number[]
  readonly #put: (place: number) => boolean
  #index = 0

  constructor(seed: Seed, shape: FilterShape) {
    super()
    this.#seed = seed
    this.#shape = shape
    this.#places = new Array<number>(shape.places).fill(0)
    this.#put = (place) => {
      this.#places[this.#index++] = place
      return true
    }
  }

  override getIndexes(text: string): number[] {
    this.#index = 0
    everyPlace(hashId(this.#seed, text), this.#shape, this.#put)
    return this.#places
  }
}
