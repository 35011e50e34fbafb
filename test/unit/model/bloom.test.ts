import { describe, expect, test } from 'vitest'
import {
  bytesOf,
  decodeHeader,
  encodeHeader,
  everyPlace,
  type FilterHeader,
  type FilterShape,
  hashId,
  headerBytes,
  idsAt,
  mostBits,
  rateAt,
  type Seed,
  seedMark,
  seedOf,
  shapeFor,
} from '../../../src/model/bloom.ts'
import { parseXid } from '../../../src/model/snapshot.ts'
import { incarnationA } from '../../support/arbitrary.ts'

const seed = seedOf('a database', 'shop', 'city')

function placesOf(text: string, shape: FilterShape, of: Seed = seed): readonly number[] {
  const places: number[] = []
  everyPlace(hashId(of, text), shape, (place) => places.push(place) > 0)
  return places
}

describe('the hash of an id', () => {
  /** Bitmaps of other versions lie in Redis: these are forever. */
  test('is the same for ever', () => {
    expect(seed).toEqual({ first: 747073491, second: 778215750 })
    expect(seedMark(seed)).toBe(2800941237)
    expect(['', '42', 'Zürich', '😀'].map((text) => hashId(seed, text))).toEqual([
      { first: 2680866546, second: 3470625653 },
      { first: 1866350551, second: 2307577266 },
      { first: 4031477075, second: 518781007 },
      { first: 143399154, second: 2662872202 },
    ])
  })

  test('is another for another database, namespace or entity', () => {
    const seeds = [
      seed,
      seedOf('another', 'shop', 'city'),
      seedOf('a database', 'other', 'city'),
      seedOf('a database', 'shop', 'town'),
    ]
    const hashes = seeds.map((of) => JSON.stringify(hashId(of, '42')))
    expect(new Set(hashes).size).toBe(4)
    expect(new Set(seeds.map(seedMark)).size).toBe(4)
  })

  test('is another for each of many ids', () => {
    const seen = new Set<string>()
    for (let id = 0; id < 100_000; id++) {
      const { first, second } = hashId(seed, String(id))
      seen.add(`${first} ${second}`)
    }
    expect(seen.size).toBe(100_000)
  })
})

describe('the places of an id', () => {
  test('are the same for ever', () => {
    expect(placesOf('42', { bits: 1_024, places: 7 })).toEqual([983, 393, 828, 241, 681, 101, 550])
  })

  test('are as many as the shape says, and inside it', () => {
    for (const bits of [8, 1_024, 2 ** 32 - 8, mostBits]) {
      for (const id of ['', '1', 'x'.repeat(1_000)]) {
        const places = placesOf(id, { bits, places: 30 })
        expect(places).toHaveLength(30)
        for (const place of places) {
          expect(Number.isSafeInteger(place) && place >= 0 && place < bits).toBe(true)
        }
      }
    }
  })

  test('are asked for until one is not there', () => {
    const asked: number[] = []
    const isThere = everyPlace(hashId(seed, '42'), { bits: 1_024, places: 7 }, (place) => {
      asked.push(place)
      return asked.length < 3
    })
    expect(isThere).toBe(false)
    expect(asked).toHaveLength(3)
  })
})

describe('a shape', () => {
  test.each([
    [100_000, 0.01, 7, 9.6],
    [100_000, 0.001, 10, 14.4],
    [1_000_000, 0.001, 10, 14.4],
  ])('for %s ids at %s has %s places, and %s bits an id', (ids, rate, places, bitsPerId) => {
    const shape = shapeFor(ids, rate)
    expect(shape.places).toBe(places)
    expect(shape.bits / ids).toBeCloseTo(bitsPerId, 1)
    expect(shape.bits % 8).toBe(0)
  })

  test('has its bounds', () => {
    expect(shapeFor(0, 0.01)).toEqual({ bits: 1_024, places: 30 })
    expect(shapeFor(1e12, 0.001)).toEqual({ bits: mostBits, places: 1 })
    expect(bytesOf({ bits: mostBits, places: 1 })).toBe(2 ** 29)
  })

  test('says how full it is', () => {
    const shape = shapeFor(10_000, 0.01)
    const half = shape.bits / 2
    expect(rateAt(shape, half)).toBeCloseTo(0.01, 2)
    expect(Math.abs(idsAt(shape, half) / 10_000 - 1)).toBeLessThan(0.1)
    expect(idsAt(shape, 0)).toBeCloseTo(0)
    expect(idsAt(shape, shape.bits)).toBe(Number.POSITIVE_INFINITY)
  })
})

describe('a header', () => {
  const header: FilterHeader = {
    bits: 1_024,
    places: 7,
    isReady: true,
    generation: 2 ** 32 - 1,
    seed: seedMark(seed),
    incarnation: incarnationA,
    xid: parseXid('9007199254740991'),
    identity: '0123456789abcdef0123',
    declaredAtMs: 1_800_000_000_000,
    setBits: 512,
  }
  const bytes = encodeHeader(header)
  const length = bytesOf(header)

  test('comes back as it was', () => {
    expect(bytes).toHaveLength(headerBytes)
    expect(decodeHeader(bytes, length)).toEqual(header)
    const building = { ...header, isReady: false, bits: mostBits, setBits: mostBits }
    expect(decodeHeader(encodeHeader(building), bytesOf(building))).toEqual(building)
    expect(decodeHeader(Buffer.concat([bytes, Buffer.alloc(128)]), length)).toEqual(header)
  })

  test('is none when any byte that its check covers is another', () => {
    for (let at = 0; at < 60; at++) {
      for (const flip of [1, 0x80]) {
        const damaged = Buffer.from(bytes)
        damaged[at] = (damaged[at] as number) ^ flip
        expect(decodeHeader(damaged, length), `byte ${at}`).toBeUndefined()
      }
    }
  })

  test('is none of a bitmap of another length', () => {
    for (const other of [0, headerBytes, length - 1, length + 1]) {
      expect(decodeHeader(bytes, other)).toBeUndefined()
    }
    expect(decodeHeader(bytes.subarray(0, -1), length)).toBeUndefined()
    expect(decodeHeader(Buffer.alloc(0), 0)).toBeUndefined()
  })

  test('is none without bits or places', () => {
    for (const nothing of [{ bits: 0 }, { bits: 12 }, { places: 0 }]) {
      const odd = { ...header, ...nothing }
      expect(decodeHeader(encodeHeader(odd), bytesOf(odd))).toBeUndefined()
    }
  })
})
