import { expect, test } from 'vitest'
import { defaultCodec } from '../../../src/model/codec.ts'
import { type AnyEntity, defineEntity, type EntityOptions } from '../../../src/model/entity.ts'
import { LockstepError } from '../../../src/model/errors.ts'

interface City {
  readonly id: number
}

const required = {
  load: async (ids: number[]) => ids.map((id) => ({ id })),
  id: (row: City) => row.id,
}

const define = (options: object, name: unknown = 'city'): AnyEntity =>
  defineEntity(name as string, { ...required, ...options } as EntityOptions<number, City, unknown>)

function refusal(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    if (error instanceof LockstepError && error.code === 'OPTION_INVALID') return error.message
    throw error
  }
  throw new Error('it was accepted')
}

test('an entity of the two required options has every other one settled', () => {
  expect(define({})).toMatchObject({
    name: 'city',
    ttlMs: 600_000,
    graceMs: 60_000,
    negativeTtlMs: 30_000,
    version: 1,
    refreshAhead: 'probabilistic',
    maxNewKeysPerMinute: 1_000_000,
    values: 'frozen',
    writeThrough: false,
    isolation: 'read committed',
    maxBatch: 1_000,
    maxValueBytes: 1024 * 1024,
    compressAboveBytes: 16 * 1024,
    maxEntries: 10_000,
    maxBytes: 64 * 1024 * 1024,
    codec: defaultCodec,
  })
})

test('every option that is given is kept', () => {
  const codec = { encode: () => Buffer.alloc(0), decode: () => undefined }
  const options = {
    ttl: '5s',
    grace: 0,
    negativeTtl: '1s',
    version: 7,
    refreshAhead: 0.8 as const,
    maxNewKeysPerMinute: 50,
    values: 'cloned',
    writeThrough: true,
    isolation: 'repeatable read',
    maxBatch: 10,
    maxValueBytes: 100,
    compress: { above: 50 },
    l1: { maxEntries: 3, maxBytes: 4_000 },
    hotKeys: { threshold: 50 },
    codec,
  }
  expect(define(options)).toMatchObject({
    ttlMs: 5_000,
    graceMs: 0,
    negativeTtlMs: 1_000,
    version: 7,
    refreshAhead: 0.8,
    maxNewKeysPerMinute: 50,
    values: 'cloned',
    writeThrough: true,
    isolation: 'repeatable read',
    maxBatch: 10,
    maxValueBytes: 100,
    compressAboveBytes: 50,
    maxEntries: 3,
    maxBytes: 4_000,
    hotKeys: { threshold: 50 },
    codec,
  })
})

test('a settled entity cannot be changed afterwards', () => {
  expect(Object.isFrozen(define({}))).toBe(true)
})

test('load and id keep their this', async () => {
  const options = {
    rows: [{ id: 4 }],
    load(this: { rows: City[] }) {
      return Promise.resolve(this.rows)
    },
    id(this: { rows: City[] }, row: City) {
      return this.rows.length * row.id
    },
  }
  const known = Object.create(options) as EntityOptions<number, City, unknown>
  const entity = defineEntity('city', known)
  expect(await entity.load([4], { db: {}, signal: AbortSignal.abort() })).toEqual([{ id: 4 }])
  expect(entity.idOf({ id: 4 })).toBe(4)
})

test('keys come from the id, or from its idToString', () => {
  expect(define({}).keyOf(42)).toBe(42)
  const composite = define({ idToString: ({ a, b }: { a: number; b: string }) => `${a}/${b}` })
  expect(composite.keyOf({ a: 1, b: 'x' })).toBe('1/x')
})

test.each(['city', 'user:profile', 'A', 'a-b_c', 'a1:b2', 'x'.repeat(64)])(
  '%j is a name of an entity',
  (name) => {
    expect(define({}, name).name).toBe(name)
  },
)

test.each([
  '',
  'ci ty',
  '1city',
  ':city',
  'city:',
  'a::b',
  'stadt{1}',
  'ört',
  'x\n',
  'x'.repeat(65),
  null,
  42,
])('%j is no name of an entity', (name) => {
  expect(refusal(() => define({}, name))).toContain('entity name')
})

test.each(['city', undefined, null, 7])('%j are no options of an entity', (options) => {
  const message = refusal(() => defineEntity('city', options as never))
  expect(message).toContain('"city"')
})

test.each<[option: string, value: unknown, shown: string]>([
  ['load', undefined, 'undefined'],
  ['load', 'select 1', '"select 1"'],
  ['id', null, 'null'],
  ['id', 'id', '"id"'],
  ['idToString', true, 'true'],
  ['ttl', 'soon', '"soon"'],
  ['ttl', -1, '-1'],
  ['grace', '1 minute', '"1 minute"'],
  ['negativeTtl', Number.NaN, 'NaN'],
  ['version', 0, '0'],
  ['version', 1.5, '1.5'],
  ['version', '2', '"2"'],
  ['values', 'copied', '"copied"'],
  ['writeThrough', 'yes', '"yes"'],
  ['isolation', 'serializable', '"serializable"'],
  ['maxBatch', 0, '0'],
  ['maxBatch', Infinity, 'Infinity'],
  ['maxValueBytes', -5, '-5'],
  ['compress', true, 'true'],
  ['compress', null, 'null'],
  ['compress', 1_000, '1000'],
  ['compress', [1_000], ''],
  ['l1', 10, '10'],
  ['l1', null, 'null'],
  ['hotKeys', true, 'true'],
  ['hotKeys', null, 'null'],
  ['hotKeys', [], 'an array'],
  ['tll', '5m', '"5m"'],
  ['loader', required.load, ''],
])(
  'the option %s can not be %j: the error names it, the value and what would do',
  (option, value, shown) => {
    const message = refusal(() => define({ [option]: value }))
    expect(message).toContain(`"city.${option}"`)
    expect(message).toContain(shown)
    expect(message).toContain('would do')
  },
)

test.each(['maxEntries', 'maxBytes'])('the bound l1.%s is a whole number above 0', (bound) => {
  for (const value of [0, -1, 1.5, Number.NaN, Infinity, '10', null]) {
    expect(refusal(() => define({ l1: { [bound]: value } }))).toContain(`"city.l1.${bound}"`)
  }
})

test('nothing is compressed where compress is false, and an empty object is the default', () => {
  expect(define({ compress: false }).compressAboveBytes).toBe(Number.POSITIVE_INFINITY)
  for (const compress of [undefined, {}, { above: undefined }]) {
    expect(define({ compress }).compressAboveBytes).toBe(16 * 1024)
  }
})

test('what compress says is a whole number above 0, and nothing else', () => {
  for (const above of [0, -1, 1.5, Number.NaN, Infinity, '16kb', null]) {
    expect(refusal(() => define({ compress: { above } }))).toContain('"city.compress.above"')
  }
  expect(refusal(() => define({ compress: { over: 10 } }))).toContain('"city.compress.over"')
})

test('a bound of l1 that does not exist is named, like any option', () => {
  expect(refusal(() => define({ l1: { maxEntrys: 10 } }))).toContain('maxEntrys')
})

test.each([0, 0.5, -1, Number.NaN, Infinity, '200', null])(
  'the threshold of hot keys is a number of reads a second, and not %j',
  (threshold) => {
    const message = refusal(() => define({ hotKeys: { threshold } }))
    expect(message).toContain('"city.hotKeys.threshold"')
    expect(message).toContain('reads a second from 1 would do')
  },
)

test('hot keys may be left to the defaults, or to nobody', () => {
  expect(define({}).hotKeys).toEqual({ threshold: 200 })
  expect(define({ hotKeys: {} }).hotKeys).toEqual({ threshold: 200 })
  expect(define({ hotKeys: { threshold: 1.5 } }).hotKeys).toEqual({ threshold: 1.5 })
  expect(define({ hotKeys: false }).hotKeys).toBe(false)
  expect(refusal(() => define({ hotKeys: { treshold: 10 } }))).toContain('hotKeys.treshold')
})

test('a codec without encode and decode is refused at the start, not by the first value', () => {
  for (const codec of ['json', {}, null, { encode: () => Buffer.alloc(0) }, { decode: () => 0 }]) {
    expect(refusal(() => define({ codec }))).toContain('"city.codec"')
  }
})

test('a version is one that PostgreSQL can keep as an integer', () => {
  expect(define({ version: 2 ** 31 - 1 }).version).toBe(2 ** 31 - 1)
  expect(refusal(() => define({ version: 2 ** 31 }))).toContain('"city.version"')
})

test('graces and timeouts go together', () => {
  const define = (options: object) =>
    defineEntity('city', { load: async () => [], id: (row: { id: number }) => row.id, ...options })
  expect(define({})).toMatchObject({
    ...{ graceMs: 60_000, staleGraceMs: 3_600_000, softTimeoutMs: 0, hardTimeoutMs: undefined },
  })
  expect(define({ grace: '2h' }).staleGraceMs).toBe(7_200_000)
  expect(define({ softTimeout: 50, hardTimeout: '1s' })).toMatchObject({
    ...{ softTimeoutMs: 50, hardTimeoutMs: 1_000 },
  })
  expect(() => define({ grace: '1m', staleGrace: '1s' })).toThrow('"city.staleGrace"')
  expect(() => define({ softTimeout: '1s', hardTimeout: '1s' })).toThrow('"city.hardTimeout"')
  expect(() => define({ softTimeout: 'soon' })).toThrow('"city.softTimeout"')
})
