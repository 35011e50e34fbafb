/** Level 1: `bloom-filters` with our places, over the bytes of a bitmap. */
import { describe, expect, test } from 'vitest'
import { BloomFilter } from '../../../src/memory/bloom-filter.ts'
import { everyPlace, hashId, rateAt, seedOf, shapeFor } from '../../../src/model/bloom.ts'

const seed = seedOf('a database', 'shop', 'city')
const ids = 100_000

describe.each([0.01, 0.001])('a filter of 100,000 ids for a rate of %s', (rate) => {
  const shape = shapeFor(ids, rate)
  const filter = new BloomFilter(seed, shape)
  for (let id = 0; id < ids; id++) filter.add(`id ${id}`)

  test('has every id that was added', () => {
    for (let id = 0; id < ids; id++) if (!filter.has(`id ${id}`)) expect.fail(`id ${id}`)
  })

  test('takes at most 16 bits an id', () => {
    expect(filter.bytes.length * 8).toBe(shape.bits)
    expect(shape.bits / ids).toBeLessThanOrEqual(16)
  })

  test('has at most a tenth more of the others than it was made for', () => {
    const others = 100_000 / rate / 100
    let maybe = 0
    for (let id = 0; id < others; id++) if (filter.has(`other ${id}`)) maybe++
    expect(maybe / others).toBeLessThan(rate * 1.1)
    expect(maybe / others).toBeGreaterThan(rate * 0.9)
  })

  test('is as full as its rate says', () => {
    let setBits = 0
    for (let byte of filter.bytes) for (; byte > 0; byte &= byte - 1) setBits++
    expect(rateAt(shape, setBits) / rate).toBeCloseTo(1, 1)
  })
})

describe('the bytes of a filter', () => {
  const shape = shapeFor(50, 0.01)

  test('are those of a bitmap: the lowest bit of each byte is the first place', () => {
    const filter = new BloomFilter(seed, shape)
    const bitmap = Buffer.alloc(shape.bits / 8)
    for (const id of ['a', '17', 'Zürich', '']) {
      filter.add(id)
      everyPlace(hashId(seed, id), shape, (place) => {
        const byte = bitmap[Math.floor(place / 8)] as number
        bitmap[Math.floor(place / 8)] = byte | (1 << (place % 8))
        return true
      })
    }
    expect(Buffer.from(filter.bytes)).toEqual(bitmap)
  })

  test('are taken as they are, and grow where they lie', () => {
    const bytes = new Uint8Array(shape.bits / 8)
    const filter = new BloomFilter(seed, shape, bytes)
    expect(filter.has('a')).toBe(false)
    filter.add('a')
    expect(filter.has('a')).toBe(true)
    expect(filter.bytes).toBe(bytes)
    expect(new BloomFilter(seed, shape, bytes).has('a')).toBe(true)
  })

  test('of another length are refused', () => {
    expect(() => new BloomFilter(seed, shape, new Uint8Array(7))).toThrow('7 bytes are no filter')
  })

  test('say nothing under another seed', () => {
    const filter = new BloomFilter(seed, shape)
    for (let id = 0; id < 10; id++) filter.add(String(id))
    const other = new BloomFilter(seedOf('another', 'shop', 'city'), shape, filter.bytes)
    expect(Array.from({ length: 10 }, (_, id) => other.has(String(id)))).toContain(false)
  })
})
