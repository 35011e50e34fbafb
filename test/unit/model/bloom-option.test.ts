import { describe, expect, test } from 'vitest'
import { defineEntity } from '../../../src/model/entity.ts'

const define = (bloom: unknown, more: object = {}) =>
  defineEntity('city', {
    load: async () => [],
    id: () => 1,
    ...more,
    bloom: bloom as never,
  }).bloom

const ids = async function* () {
  yield 1
}

describe('what will do', () => {
  test('a table and a column', () => {
    expect(define({ table: 'shop.cities', column: 'id' })).toEqual({
      falsePositiveRate: 0.001,
      capacity: undefined,
      from: { kind: 'table', table: 'shop.cities', column: 'id' },
    })
  })

  test('a generator with a capacity, and an idToString beside it', () => {
    const bloom = define({ ids, capacity: 10, falsePositiveRate: 0.01 }, { idToString: String })
    expect(bloom).toEqual({ falsePositiveRate: 0.01, capacity: 10, from: { kind: 'ids', ids } })
  })

  test('nothing at all', () => expect(define(undefined)).toBeUndefined())
})

test.each([
  [null, 'city.bloom'],
  ['cities', 'city.bloom'],
  [{}, 'city.bloom.table'],
  [{ table: 'cities' }, 'city.bloom.column'],
  [{ table: '', column: 'id' }, 'city.bloom.table'],
  [{ table: 'cities', column: 'id', size: 1 }, 'city.bloom.size'],
  [{ table: 'cities', column: 'id', capacity: 0 }, 'city.bloom.capacity'],
  [{ table: 'cities', column: 'id', capacity: 1.5 }, 'city.bloom.capacity'],
  [{ table: 'cities', column: 'id', falsePositiveRate: 0 }, 'city.bloom.falsePositiveRate'],
  [{ table: 'cities', column: 'id', falsePositiveRate: '1%' }, 'city.bloom.falsePositiveRate'],
  [{ ids }, 'city.bloom.capacity'],
  [{ ids: 'all', capacity: 1 }, 'city.bloom.ids'],
  [{ ids, table: 'cities', capacity: 1 }, 'city.bloom.ids'],
])('%j will not do', (bloom, option) => {
  expect(() => define(bloom)).toThrow(
    expect.objectContaining({
      code: 'OPTION_INVALID',
      message: expect.stringContaining(`"${option}"`),
    }),
  )
})

test('a column is not the text of an idToString', () => {
  expect(() => define({ table: 'cities', column: 'id' }, { idToString: String })).toThrow(
    /bloom\.table/,
  )
})
