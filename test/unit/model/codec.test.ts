import { expect, test } from 'vitest'
import { defaultCodec } from '../../../src/model/codec.ts'
import { everythingIn } from '../../support/everything-in.ts'

function expectSame(actual: unknown, expected: unknown): void {
  expect(everythingIn(actual)).toBe(everythingIn(expected))
}

const roundTrip = (value: unknown): unknown => defaultCodec.decode(defaultCodec.encode(value))

const row = {
  id: 42,
  email: 'ada@example.com',
  balance: 12.5,
  active: true,
  deletedAt: null,
}

const kept: [name: string, value: unknown][] = [
  ['a flat row', row],
  ['a row with dates', { ...row, createdAt: new Date(1_700_000_000_123), updatedAt: new Date(-1) }],
  ['an invalid date', { at: new Date(Number.NaN) }],
  ['the ends of the calendar', [new Date(8.64e15), new Date(-8.64e15)]],
  ['numbers that JSON has no words for', [-0, Number.NaN, Infinity, -Infinity, { nested: -0 }]],
  ['numbers at the edges', [0, 5e-324, Number.MAX_VALUE, Number.MAX_SAFE_INTEGER, -(2 ** 53)]],
  ['undefined as a property', { a: undefined, b: null }],
  ['undefined itself', undefined],
  ['null itself', null],
  ['a bare string', 'x'],
  ['an empty object and array', [{}, []]],
  ['bigints of any size', [0n, -1n, 2n ** 63n, -(2n ** 64n), 7n ** 900n]],
  ['a Map with object keys', new Map<unknown, unknown>([[{ k: 1 }, new Map([[1, 'x']])]])],
  ['a Set of everything', new Set<unknown>([1, '1', new Date(5), { a: [] }, new Set([null])])],
  ['a Buffer', { hash: Buffer.from('00ff10', 'hex'), none: Buffer.alloc(0) }],
  ['a Uint8Array, told apart from a Buffer', new Uint8Array([1, 2, 255])],
  ['a view into a larger buffer', Buffer.from('lockstep').subarray(2, 5)],
  [
    'every typed array',
    [
      new Int8Array([-1]),
      new Uint8ClampedArray([7]),
      new Int16Array([-300]),
      new Uint16Array([60_000]),
      new Int32Array([-70_000]),
      new Uint32Array([4e9]),
      new Float32Array([1.5, Number.NaN]),
      new Float64Array([Math.PI]),
      new BigInt64Array([-5n]),
      new BigUint64Array([2n ** 64n - 1n]),
    ],
  ],
  ['strings beyond latin-1', ['ü', '日本語', '👩‍🚀', '\u0000', '\ud800 alone', '\u2028']],
  ['keys of any kind', { '': 1, 'a b': 2, 日: 3, 0: 4, '\ud800': 5 }],
  ['a key that holds a toJSON which is data', { toJSON: 'x', hasOwnProperty: 2 }],
  ['a long text', { text: 'lorem ipsum '.repeat(1_000) }],
  ['a list of rows', Array.from({ length: 200 }, (_, id) => ({ ...row, id, tags: ['a'] }))],
]

for (const [name, value] of kept) {
  test(`gives back ${name}`, () => {
    expectSame(roundTrip(value), value)
  })
}

test('keys that name parts of the prototype come back as own properties, small or large', () => {
  for (const filler of ['', 'x'.repeat(5_000)]) {
    const value: unknown = JSON.parse(
      `{"__proto__":{"isAdmin":true},"constructor":{"prototype":1},"toString":"s","filler":"${filler}"}`,
    )
    const back = roundTrip(value) as Record<string, unknown>
    expectSame(back, value)
    expect(Object.hasOwn(back, '__proto__')).toBe(true)
    expect(Object.getPrototypeOf(back)).toBe(Object.prototype)
    expect(back.isAdmin).toBeUndefined()
    expect('isAdmin' in {}).toBe(false)
  }
})

test('a row class comes back as a plain object of its own properties', () => {
  class City {
    readonly id = 1
    readonly founded = new Date(0)
    readonly #secret = 2
    label(): string {
      return `${this.id}${this.#secret}`
    }
  }
  expectSame(roundTrip(new City()), { id: 1, founded: new Date(0) })
})

test('an object without prototype and one behind a proxy come back plain, small or large', () => {
  for (const text of ['x', 'x'.repeat(5_000)]) {
    expectSame(roundTrip(Object.assign(Object.create(null), { text })), { text })
    expectSame(roundTrip(new Proxy({ text }, {})), { text })
  }
})

test('a small JSON-only row is JSON, readable where it lies; a date makes it binary', () => {
  expect(defaultCodec.encode(row).toString()).toBe(JSON.stringify(row))
  expect(defaultCodec.encode({ ...row, at: new Date(0) })[0]).toBe(0xff)
})

test('a value of 5 MB survives', () => {
  const value = Array.from({ length: 40_000 }, (_, id) => ({ ...row, id, at: new Date(id) }))
  const bytes = defaultCodec.encode(value)
  expect(bytes.length).toBeGreaterThan(3_000_000)
  expectSame(defaultCodec.decode(bytes), value)
  const text = 'ж'.repeat(5_000_000)
  expect(roundTrip(text)).toBe(text)
})

test('binary values are copies: changing or dropping the bytes read does not reach them', () => {
  const bytes = defaultCodec.encode([Buffer.from('abc'), new Uint8Array([1]), new Float64Array(2)])
  const [buffer, view, floats] = defaultCodec.decode(bytes) as [Buffer, Uint8Array, Float64Array]
  bytes.fill(0)
  expect(buffer.toString()).toBe('abc')
  expect(view).toEqual(new Uint8Array([1]))
  for (const one of [buffer, view, floats]) expect(one.buffer).not.toBe(bytes.buffer)
})

test('bytes may come as a Uint8Array that is a window into something larger', () => {
  for (const value of [row, new Map([[1, row]])]) {
    const bytes = defaultCodec.encode(value)
    const around = new Uint8Array(bytes.length + 7)
    around.set(bytes, 3)
    expectSame(defaultCodec.decode(around.subarray(3, 3 + bytes.length)), value)
  }
})

class Money {
  readonly cents = 1
  toJSON(): string {
    return '0.01'
  }
}

const refused: [name: string, value: unknown, message: string][] = [
  ['a function', { a: { b: [1, 2, 3, () => 1] } }, "$.a.b[3] can't be cached: it is a function"],
  ['a symbol', Symbol('s'), "$ can't be cached: it is a symbol"],
  ['a method', { a: { toJSON: () => 1 } }, '$.a.toJSON'],
  ['an odd key', { 'a-b': { '': Symbol() } }, '$["a-b"][""]'],
  ['an entry of a Map', { m: new Map([[1, () => 1]]) }, '$.m[0]'],
  ['a key of a Map', new Map([[() => 1, 1]]), '$[0]'],
  ['an entry of a Set', new Set([1, () => 1]), '$[1]'],
  ['an instance with a toJSON', { price: new Money() }, '$.price'],
  ['a URL', { link: new URL('https://example.com') }, "$.link can't be cached: it is an instance"],
  ['a RegExp', /x/, 'an instance of RegExp'],
  ['an Error', [new RangeError('x')], '$[0]'],
  ['a Promise', Promise.resolve(1), 'an instance of Promise'],
  ['a WeakMap', new WeakMap(), 'an instance of WeakMap'],
  ['a boxed number', Object(1), 'an instance of Number'],
  ['an ArrayBuffer', new ArrayBuffer(1), 'an instance of ArrayBuffer'],
  ['an array with a toJSON', [Object.assign([1], { toJSON: () => 1 })], '$[0]'],
]

for (const [name, value, message] of refused) {
  test(`refuses ${name} with a TypeError that says where and what`, () => {
    expect(() => defaultCodec.encode(value)).toThrow(TypeError)
    expect(() => defaultCodec.encode(value)).toThrow(message)
  })
}

test('a refusal leaves nothing behind: the next value encodes, the next path is its own', () => {
  expect(() => defaultCodec.encode({ a: [() => 1] })).toThrow('$.a[0]')
  expectSame(roundTrip(row), row)
  expect(() => defaultCodec.encode([() => 1])).toThrow("$[0] can't")
})

test('refuses cycles of every kind instead of overflowing the stack', () => {
  const viaObject: Record<string, unknown> = {}
  viaObject.self = viaObject
  const viaArray: unknown[] = []
  viaArray.push(viaArray, viaArray)
  const viaMap = new Map<unknown, unknown>()
  viaMap.set(viaMap, { viaMap })
  const viaSet = new Set<unknown>()
  viaSet.add([viaSet])
  for (const cycle of [viaObject, viaArray, viaMap, viaSet]) {
    expect(() => defaultCodec.encode(cycle)).toThrow(TypeError)
    expect(() => defaultCodec.encode(cycle)).toThrow('is it inside itself?')
  }
})

function nested(levels: number): unknown {
  let value: unknown = 'core'
  for (let level = 0; level < levels; level++) value = [value]
  return value
}

test('nesting is fine down to 1,000 levels, deeper is refused', () => {
  const value = nested(1_000)
  expectSame(roundTrip(value), value)
  expect(() => defaultCodec.encode(nested(100_000))).toThrow(TypeError)
})

test('a part that is used twice is no cycle', () => {
  const shared = { at: new Date(7) }
  expectSame(roundTrip([shared, { shared }]), [shared, { shared }])
})

test('bytes of another make throw an Error', () => {
  const foreign = [
    [],
    [0xff],
    [0xff, 0x0f],
    [0xff, 0xfe, 0x6f],
    [0x7b],
    [0x00, 0x01],
    [0xff, 0x0f, 0x5c, 0xff, 0xff, 0xff, 0xff, 0x0f],
  ]
  for (const bytes of foreign) {
    expect(() => defaultCodec.decode(Uint8Array.from(bytes))).toThrow(Error)
  }
  const whole = defaultCodec.encode({ ...row, at: new Date(0) })
  for (let length = 0; length < whole.length; length++) {
    expect(() => defaultCodec.decode(whole.subarray(0, length))).toThrow('not a value')
  }
})
