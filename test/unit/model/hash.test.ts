import { expect, test } from 'vitest'
import { hashOf } from '../../../src/model/hash.ts'

test('a hash is 31 unsigned bits, for every key there is', () => {
  const keys = [
    0,
    -0,
    1,
    -1,
    42,
    2 ** 31,
    2 ** 32,
    2 ** 53 - 1,
    -(2 ** 53 - 1),
    1e21,
    1e300,
    0.5,
    -0.1,
    5e-324,
    '',
    'a',
    '__proto__',
    'ü💾',
    'x'.repeat(512),
  ]
  for (const key of keys) {
    const hash = hashOf(key)
    expect(Number.isInteger(hash) && hash >= 0 && hash < 2 ** 31).toBe(true)
    expect(hashOf(key)).toBe(hash)
  }
})

test('0 and -0 are one key of a Map, and of one stripe', () => {
  expect(hashOf(-0)).toBe(hashOf(0))
})

test.each([
  ['ids that count up', (index: number) => index],
  ['ids that count up in steps of the number of stripes', (index: number) => index * 4_096],
  ['ids far apart', (index: number) => index * 2 ** 32],
  ['negative ids', (index: number) => -index],
  ['ids with a fraction', (index: number) => index + 0.5],
  ['texts', (index: number) => `user-${index}`],
  ['texts that differ at the front', (index: number) => `${index}-of-a-long-text-with-a-tail`],
])('%s spread over the stripes', (_, keyAt) => {
  const counts = new Map<number, number>()
  const keys = 4_096 * 4
  for (let index = 0; index < keys; index++) {
    const stripe = hashOf(keyAt(index)) % 4_096
    counts.set(stripe, (counts.get(stripe) ?? 0) + 1)
  }
  // 4 a stripe on average: of a random spread 98 % of the stripes have some, none has 25.
  expect(counts.size).toBeGreaterThan(3_900)
  expect(Math.max(...counts.values())).toBeLessThan(25)
})
