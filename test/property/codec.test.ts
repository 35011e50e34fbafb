import fc from 'fast-check'
import { expect, test } from 'vitest'
import { defaultCodec } from '../../src/model/codec.ts'
import { deepCopy, deepFreeze } from '../../src/model/freeze.ts'
import { everythingIn } from '../support/everything-in.ts'

function expectSame(actual: unknown, expected: unknown): void {
  expect(everythingIn(actual)).toBe(everythingIn(expected))
}

const { encode, decode } = defaultCodec

const key = fc.oneof(
  { weight: 4, arbitrary: fc.string() },
  fc.constantFrom('__proto__', 'constructor', 'toString', 'hasOwnProperty', 'toJSON', 'length'),
)
/** Any UTF-16, lone surrogates too. */
const anyText = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 20 })
  .map((units) => String.fromCharCode(...units))
const bytes = fc.uint8Array({ maxLength: 40 })

const leaf = fc.oneof(
  fc.string(),
  anyText,
  // Long enough to leave the format for small values.
  fc.string().map((text) => text.padEnd(1_100, '.')),
  fc.integer(),
  fc.double(),
  fc.constantFrom(-0, Number.NaN, Infinity, null, undefined, ''),
  fc.boolean(),
  fc.bigInt(),
  fc.bigInt({ min: -(2n ** 300n), max: 2n ** 300n }),
  fc.date({ noInvalidDate: false }),
  bytes,
  bytes.map((view) => Buffer.from(view)),
)

const tree = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5, depthSize: 'medium' },
    leaf,
    fc.dictionary(key, tie('value'), { noNullPrototype: true, maxKeys: 8 }),
    fc.array(tie('value'), { maxLength: 8 }),
    fc.array(fc.tuple(tie('value'), tie('value')), { maxLength: 4 }).map((pairs) => new Map(pairs)),
    fc.array(tie('value'), { maxLength: 4 }).map((items) => new Set(items)),
  ),
})).value

test('every tree of the promised types comes back as it was', () => {
  fc.assert(
    fc.property(tree, (value) => {
      expectSame(decode(encode(value)), value)
    }),
    { numRuns: 500 },
  )
})

test('a second trip changes nothing, whatever the first one made of the value', () => {
  const anything = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withNullPrototype: true,
    withSparseArray: true,
    withTypedArray: true,
  })
  fc.assert(
    fc.property(anything, (value) => {
      const once = decode(encode(value))
      expectSame(decode(encode(once)), once)
    }),
    { numRuns: 1_000 },
  )
})

test('encoding does not change its argument', () => {
  fc.assert(
    fc.property(tree, (value) => {
      const before = deepCopy(value)
      encode(value)
      expectSame(value, before)
    }),
    { numRuns: 200 },
  )
})

test('a frozen value encodes like an open one, and its copy equals it', () => {
  fc.assert(
    fc.property(tree, (value) => {
      const open = encode(value)
      const cached = decode(open)
      deepFreeze(cached)
      expectSame(decode(encode(cached)), value)
      expectSame(deepCopy(cached), value)
    }),
    { numRuns: 200 },
  )
})

/** What a reader does with bytes from Redis; corrupt ones may throw an Error, nothing else. */
function read(corrupt: Uint8Array): void {
  let value: unknown
  try {
    value = decode(corrupt)
  } catch (error) {
    expect(error).toBeInstanceOf(Error)
    return
  }
  deepFreeze(value)
  deepCopy(value)
}

test('random bytes throw or give a value', () => {
  const headers = fc.constantFrom([], [0xff], [0xff, 0x0f], [0xff, 0x0d], [0x7b], [0x5b, 0x22])
  fc.assert(
    fc.property(headers, fc.uint8Array({ maxLength: 200 }), (header, rest) => {
      read(Uint8Array.from([...header, ...rest]))
    }),
    { numRuns: 5_000 },
  )
})

test('corrupted bytes throw or give a value, in little time, and pollute no prototype', () => {
  const written = fc.sample(tree, { seed: 1, numRuns: 100 }).map(encode)
  const damage = fc.array(
    fc.record({ at: fc.nat(), byte: fc.oneof(fc.nat(255), fc.constantFrom(...'aAoO;:^\\"cT$@')) }),
    { minLength: 1, maxLength: 4 },
  )
  const ownNames = Object.getOwnPropertyNames(Object.prototype).length
  let slowestMs = 0
  fc.assert(
    fc.property(fc.constantFrom(...written), damage, fc.nat(), (whole, hits, cut) => {
      const corrupt = Buffer.from(whole)
      for (const { at, byte } of hits) {
        corrupt[at % corrupt.length] = typeof byte === 'number' ? byte : byte.charCodeAt(0)
      }
      const startMs = performance.now()
      read(cut % 3 === 0 ? corrupt.subarray(0, cut % corrupt.length) : corrupt)
      slowestMs = Math.max(slowestMs, performance.now() - startMs)
    }),
    { numRuns: 5_000 },
  )
  expect(slowestMs).toBeLessThan(1_000)
  expect(Object.getOwnPropertyNames(Object.prototype).length).toBe(ownNames)
})
