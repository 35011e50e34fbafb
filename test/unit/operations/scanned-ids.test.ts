import { expect, test } from 'vitest'
import { BloomFilter } from '../../../src/memory/bloom-filter.ts'
import { seedOf, shapeFor } from '../../../src/model/bloom.ts'
import { ScannedIds } from '../../../src/operations/scanned-ids.ts'

const seed = seedOf('database', 'shop', 'city')
const shape = shapeFor(20_000, 0.001)

test('its bits are those of level 1, repeats count once, and the sample is of what was scanned', async () => {
  const ids = Array.from({ length: 15_000 }, (_, id) => `id ${id}`)
  const filter = new BloomFilter(seed, shape)
  for (const id of ids) filter.add(id)
  const scanned = new ScannedIds(seed, shape, Math.random)
  await scanned.add(ids)
  await scanned.add(ids.slice(0, 9_000))
  expect(Buffer.compare(scanned.bitmap, filter.bytes)).toBe(0)
  expect(scanned.scanned).toBe(24_000)
  expect(Math.abs(scanned.distinct - 15_000)).toBeLessThan(30)
  expect(scanned.sample).toHaveLength(1_000)
  expect(scanned.sample.every((id) => ids.includes(id))).toBe(true)
  let set = 0
  for (const byte of filter.bytes) for (let bits = byte; bits > 0; bits &= bits - 1) set++
  expect(scanned.setBits()).toBe(set)
})
