/** No false "does not exist" (I6), for any ids and any shape, in process and in the words of the model. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BloomFilter } from '../../src/memory/bloom-filter.ts'
import {
  bytesOf,
  decodeHeader,
  encodeHeader,
  everyPlace,
  hashId,
  seedOf,
  shapeFor,
} from '../../src/model/bloom.ts'
import { incarnationA } from '../support/arbitrary.ts'

const texts = fc.string({ unit: 'binary', maxLength: 40 })
const shapes = fc.record({
  bits: fc.integer({ min: 1, max: 4_000 }).map((bytes) => 8 * bytes),
  places: fc.integer({ min: 1, max: 30 }),
})
const seeds = fc.tuple(texts, texts, texts).map((names) => seedOf(...names))

test('what was added is there, whatever else was, and in every copy of the bytes', () => {
  fc.assert(
    fc.property(seeds, shapes, fc.array(texts), (seed, shape, ids) => {
      const filter = new BloomFilter(seed, shape)
      for (const id of ids) filter.add(id)
      const copy = new BloomFilter(seed, shape, Uint8Array.from(filter.bytes))
      const merged = new BloomFilter(seed, shape)
      for (const [at, byte] of filter.bytes.entries()) {
        merged.bytes[at] = (merged.bytes[at] as number) | byte
      }
      for (const one of [filter, copy, merged]) {
        for (const id of ids) expect(one.has(id)).toBe(true)
      }
    }),
  )
})

test('a filter has exactly the places that its ids have', () => {
  fc.assert(
    fc.property(seeds, shapes, fc.array(texts), (seed, shape, ids) => {
      const filter = new BloomFilter(seed, shape)
      const bytes = new Uint8Array(shape.bits / 8)
      for (const id of ids) {
        filter.add(id)
        everyPlace(hashId(seed, id), shape, (place) => {
          const at = Math.floor(place / 8)
          bytes[at] = (bytes[at] as number) | (1 << (place % 8))
          return true
        })
      }
      expect(Buffer.from(filter.bytes).equals(bytes)).toBe(true)
    }),
  )
})

test('a header comes back as it was', () => {
  const xids = fc.maxSafeNat()
  const headers = fc.record({
    bits: fc.integer({ min: 1, max: 2 ** 29 - 72 }).map((bytes) => 8 * bytes),
    places: fc.integer({ min: 1, max: 255 }),
    isReady: fc.boolean(),
    generation: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    seed: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
    incarnation: fc.constant(incarnationA),
    xid: xids.map((xid) => xid as never),
    identity: fc.constant('0123456789abcdef0123'),
    declaredAtMs: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
    setBits: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
  })
  fc.assert(
    fc.property(headers, (header) => {
      expect(decodeHeader(encodeHeader(header), bytesOf(header))).toEqual(header)
    }),
  )
})

test('a shape for some ids has about the rate that it was made for', () => {
  const rates = fc.double({ min: 0.0005, max: 0.1, noNaN: true })
  fc.assert(
    fc.property(fc.integer({ min: 2_000, max: 1e8 }), rates, (ids, rate) => {
      const shape = shapeFor(ids, rate)
      const expected = (1 - Math.exp((-shape.places * ids) / shape.bits)) ** shape.places
      expect(expected / rate).toBeLessThan(1.1)
    }),
  )
})
