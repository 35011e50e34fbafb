import { expect, test } from 'vitest'
import { defineEntity } from '../../src/model/entity.ts'
import { settle } from '../../src/options.ts'
import { codeThrown } from '../support/code-thrown.ts'

const city = defineEntity('city', { load: async () => [], id: (row: { id: number }) => row.id })
const settled = (maxConcurrentLoads: unknown): unknown =>
  settle({
    namespace: 'shop',
    postgres: 'in memory',
    entities: { city },
    maxConcurrentLoads: maxConcurrentLoads as number,
  }).maxConcurrentLoads

test('the number of loads at once is fixed, or found between two bounds', () => {
  expect(settled(undefined)).toBe(8)
  expect(settled(3)).toBe(3)
  expect(settled({ least: 2, most: 64 })).toEqual({ least: 2, most: 64 })
  expect(settled({ least: 5, most: 5 })).toEqual({ least: 5, most: 5 })
})

test.each([0, -1, 1.5, '8', null, [2, 64], {}, { least: 2 }, { most: 2 }, { least: 0, most: 2 }])(
  'it can’t be %j',
  (limit) => {
    expect(codeThrown(() => settled(limit))).toBe('OPTION_INVALID')
  },
)

test('what is wrong with it is named', () => {
  expect(() => settled({ least: 3, most: 2 })).toThrow(/"maxConcurrentLoads.most" is 2; at least 3/)
  expect(() => settled({ least: 3, most: 4, start: 3 })).toThrow(
    /"maxConcurrentLoads.start" is not/,
  )
  expect(() => settled({ least: 3, most: 'x' })).toThrow(/"maxConcurrentLoads.most" is "x"/)
})
