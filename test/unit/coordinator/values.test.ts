import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import {
  candidateFromL2,
  forL2,
  graceOf,
  keyOfRow,
  loadedValue,
  rowsById,
  valueFor,
} from '../../../src/coordinator/values.ts'
import { LockstepError } from '../../../src/model/errors.ts'
import { snapshot } from '../../support/arbitrary.ts'
import { cityEntity } from './process.ts'

const at = snapshot('10:10:')
const city = { id: 42, name: 'Ulm', founded: new Date(0) }

function codeOf(call: () => unknown): unknown {
  try {
    return call()
  } catch (error) {
    return error instanceof LockstepError ? error.code : error
  }
}

describe('a loaded value', () => {
  const entity = cityEntity({ ttl: '100s', grace: '10s', negativeTtl: '20s', maxValueBytes: 100 })

  test.each([
    [0, 90_000],
    [0.5, 100_000],
    [1, 110_000],
  ])('lives its ttl, give or take a tenth (%d)', (random, ttlMs) => {
    const value = loadedValue(entity, city, at, 5, () => random)
    expect(value.ttlMs).toBeCloseTo(ttlMs)
    expect(value.candidate.loadedAtMs).toBe(5)
    expect(value.candidate.freshUntilMs).toBeCloseTo(5 + ttlMs)
    expect([forL2(entity, value).graceMs, graceOf(entity, city)]).toEqual([10_000, 10_000])
  })

  test('that does not exist lives the negative ttl, and has no grace', () => {
    const value = loadedValue(entity, undefined, at, 0, () => 0.5)
    expect(forL2(entity, value)).toMatchObject({ payload: undefined, ttlMs: 20_000, graceMs: 0 })
    expect(value.candidate).toMatchObject({ value: undefined, isShared: true, weightBytes: 0 })
    expect(graceOf(entity, undefined)).toBe(0)
  })

  test('has passed the codec: every tier answers with the same types', () => {
    const value = loadedValue(entity, city, at, 0, () => 0.5).candidate.value as typeof city
    expect(value).toEqual(city)
    expect(value).not.toBe(city)
    expect(value.founded).toBeInstanceOf(Date)
  })

  test('is not the row: who changes the row afterwards changes nothing', () => {
    const row = { ...city, tags: ['old'] }
    const { candidate } = loadedValue(entity, row, at, 0, () => 0.5)
    row.tags.push('scribbled')
    expect((candidate.value as typeof row).tags).toEqual(['old'])
  })

  test('is too big above its bound, not at it', () => {
    const size = (length: number) =>
      loadedValue(entity, { id: 1, name: 'x'.repeat(length) }, at, 0, () => 0.5)
    const small = size(10)
    const atBound = size(10 + 100 - (small.payload?.length ?? 0))
    expect([atBound.payload?.length, atBound.isTooBig]).toEqual([100, false])
    expect(size(200).isTooBig).toBe(true)
  })

  test('that the codec cannot take is VALUE_NOT_ENCODABLE, and names the entity', () => {
    expect(codeOf(() => loadedValue(entity, { id: 1, f: () => 1 }, at, 0, () => 0.5))).toBe(
      'VALUE_NOT_ENCODABLE',
    )
    expect(() => loadedValue(entity, { id: 1, f: () => 1 }, at, 0, () => 0.5)).toThrow('"city"')
  })
})

describe('who may share a value', () => {
  const candidateOf = (values: 'frozen' | 'cloned' | 'shared') =>
    loadedValue(cityEntity({ values }), city, at, 0, () => 0.5).candidate

  test('frozen: everybody, because nobody can change it', () => {
    const one = candidateOf('frozen')
    expect([one.isShared, Object.isFrozen(one.value)]).toEqual([true, true])
    expect(valueFor(one)).toBe(one.value)
  })

  test('frozen, with bytes in it: those can be changed all the same, so each gets a copy', () => {
    const row = { id: 1, name: 'Ulm', bytes: Buffer.from('abc') }
    const { candidate } = loadedValue(cityEntity(), row, at, 0, () => 0.5)
    expect(candidate.isShared).toBe(false)
    expect(valueFor(candidate)).toEqual(row)
    expect(valueFor(candidate)).not.toBe(candidate.value)
  })

  test('cloned: each caller gets a copy', () => {
    const one = candidateOf('cloned')
    expect(one.isShared).toBe(false)
    expect(valueFor(one)).toEqual(one.value)
    expect(valueFor(one)).not.toBe(one.value)
  })

  test('shared: everybody, and nobody checks', () => {
    const one = candidateOf('shared')
    expect([one.isShared, Object.isFrozen(one.value)]).toEqual([true, false])
  })
})

describe('a value out of L2', () => {
  const entity = cityEntity({ grace: '10s' })
  const payload = entity.codec.encode(city)
  const stored = { snapshot: at, payload, freshForMs: 500, ageMs: 200, barrier: undefined }

  test('has its life counted on this process’ clock', () => {
    expect(candidateFromL2(entity, stored, 10_000)).toMatchObject({
      value: city,
      snapshot: at,
      loadedAtMs: 9_800,
      freshUntilMs: 10_500,
      weightBytes: payload.length,
    })
  })

  test('past its ttl has been stale since then', () => {
    const old = candidateFromL2(entity, { ...stored, freshForMs: -4_000 }, 10_000)
    expect(old).toMatchObject({ freshUntilMs: 6_000 })
  })

  test('that is "does not exist" is an answer like any other', () => {
    const none = candidateFromL2(entity, { ...stored, payload: undefined }, 10_000)
    expect(none).toMatchObject({ value: undefined, freshUntilMs: 10_500, isShared: true })
  })

  test('whose bytes the codec did not write is none, not an exception', () => {
    for (const bytes of [Buffer.alloc(0), Buffer.from('{"id":'), payload.subarray(0, 5)]) {
      expect(candidateFromL2(entity, { ...stored, payload: bytes }, 0)).toBeUndefined()
    }
  })
})

describe('a big value', () => {
  const row = { id: 1, name: 'a name that comes again, '.repeat(100) }
  const loaded = (options: Parameters<typeof cityEntity>[0], one: object = row) => {
    const entity = cityEntity(options)
    return { entity, value: loadedValue(entity, one, at, 0, () => 0.5) }
  }
  const there = { snapshot: at, freshForMs: 500, ageMs: 0, barrier: undefined }

  test('goes to L2 compressed, and comes back as it was, with the weight that it has in L1', () => {
    const { entity, value } = loaded({ compress: { above: 2_000 } })
    const { payload, form } = forL2(entity, value)
    expect([form, (payload?.length ?? 0) < 200]).toEqual(['compressed', true])
    const back = candidateFromL2(entity, { ...there, payload, form }, 0)
    expect(back?.value).toEqual(row)
    expect(back?.weightBytes).toBe(value.payload?.length)
    expect(back?.weightBytes).toBe(value.candidate.weightBytes)
  })

  test('is compressed above the bound, not at it, and not at all where nothing is', () => {
    const bytes = loaded({}).value.payload?.length ?? 0
    const formWith = (compress: { above: number } | false) => {
      const { entity, value } = loaded({ compress })
      return forL2(entity, value).form
    }
    expect(formWith({ above: bytes - 1 })).toBe('compressed')
    expect(formWith({ above: bytes })).toBeUndefined()
    expect(formWith(false)).toBeUndefined()
  })

  test('is read whether or not this process would have compressed it', () => {
    const { entity, value } = loaded({ compress: { above: 1 } })
    const stored = { ...there, ...forL2(entity, value) }
    expect(candidateFromL2(loaded({ compress: false }).entity, stored, 0)?.value).toEqual(row)
  })

  test('that saves nothing stays as it is', () => {
    const random = { id: 1, name: 'x', bytes: randomBytes(4_000) }
    const { entity, value } = loaded({ compress: { above: 100 } }, random)
    expect(forL2(entity, value)).toEqual({
      payload: value.payload,
      form: undefined,
      ttlMs: value.ttlMs,
      graceMs: entity.graceMs,
    })
  })

  test('that claims to be bigger than a value may be is none', () => {
    const { entity, value } = loaded({ compress: { above: 100 } })
    const stored = { ...there, ...forL2(entity, value) }
    const bytes = value.payload?.length ?? 0
    expect(candidateFromL2(cityEntity({ maxValueBytes: bytes }), stored, 0)?.value).toEqual(row)
    expect(candidateFromL2(cityEntity({ maxValueBytes: bytes - 1 }), stored, 0)).toBeUndefined()
  })

  test('that is too big leaves the verdict, for its ttl and without a grace', () => {
    const { entity, value } = loaded({ maxValueBytes: 100, ttl: '100s', grace: '1h' })
    const left = forL2(entity, value)
    expect(left).toEqual({ payload: undefined, form: 'too-big', ttlMs: 100_000, graceMs: 0 })
    expect(candidateFromL2(entity, { ...there, ...left }, 0)).toBeUndefined()
  })

  test('what does not exist is neither', () => {
    const { entity, value } = loaded({ compress: { above: 1 } })
    const none = loadedValue(entity, undefined, at, 0, () => 0.5)
    expect(value.payload).toBeDefined()
    expect(forL2(entity, none)).toMatchObject({ payload: undefined, form: undefined })
  })
})

describe('the rows of a load', () => {
  const entity = cityEntity()
  const rowsOf = (rows: unknown, ...wanted: (number | string)[]) =>
    rowsById(entity, rows as unknown[], new Set(wanted))

  test('are found by id, whatever type it came in as', () => {
    expect(rowsOf([{ id: '42' }, { id: 7n }], 42, 7)).toEqual(
      new Map([
        [42, { id: '42' }],
        [7, { id: 7n }],
      ]),
    )
  })

  test('that nobody asked for, or that are none, are left out', () => {
    expect(rowsOf([null, { id: 1 }, undefined, { id: 2 }], 2)).toEqual(new Map([[2, { id: 2 }]]))
  })

  test('that nobody asked for may even be doubled', () => {
    expect(rowsOf([{ id: 1 }, { id: 1 }], 2)).toEqual(new Map())
  })

  test.each([undefined, null, {}, 'rows', 7, new Map(), new Set()])(
    'are an array: %s is LOADER_INVALID',
    (rows) => {
      expect(codeOf(() => rowsOf(rows, 1))).toBe('LOADER_INVALID')
    },
  )

  test('with two of one id are LOADER_INVALID', () => {
    expect(codeOf(() => rowsOf([{ id: 1 }, { id: '1' }], 1))).toBe('LOADER_INVALID')
  })

  test.each([{}, { id: null }, { id: Number.NaN }, { id: {} }, 7, 'row', true])(
    'without a usable id are LOADER_INVALID, and the cause is kept (%#)',
    (row) => {
      expect(codeOf(() => rowsOf([row], 1))).toBe('LOADER_INVALID')
      expect(codeOf(() => keyOfRow(entity, row))).toBe('LOADER_INVALID')
    },
  )

  test('whose id throws are LOADER_INVALID', () => {
    const cause = new Error('mine')
    const throwing = cityEntity({
      id: () => {
        throw cause
      },
    })
    try {
      keyOfRow(throwing, {})
      throw new Error('nothing was thrown')
    } catch (error) {
      expect(error).toMatchObject({ code: 'LOADER_INVALID', cause })
    }
  })
})
