import { createRequire } from 'node:module'
import { inspect, types } from 'node:util'
import { describe, expect, test } from 'vitest'
import { defaultCodec } from '../../../src/model/codec.ts'
import { deepCopy, deepFreeze } from '../../../src/model/freeze.ts'
import { everythingIn } from '../../support/everything-in.ts'

function expectSame(actual: unknown, expected: unknown): void {
  expect(everythingIn(actual)).toBe(everythingIn(expected))
}

const refusal = 'cached values are frozen; copy before changing'

function frozen<T>(value: T): T {
  expect(deepFreeze(value)).toBe(true)
  return value
}

const mutatorsOf = (prototype: object, pattern: RegExp): string[] =>
  Object.getOwnPropertyNames(prototype).filter((name) => pattern.test(name))

function call(target: object, method: string, ...values: unknown[]): unknown {
  return (target as Record<string, (...values: unknown[]) => unknown>)[method]?.(...values)
}

describe('deepFreeze', () => {
  test('leaves alone what somebody has added to Object.prototype', () => {
    const theirs = { open: true }
    Object.assign(Object.prototype, { theirs })
    try {
      frozen({ a: 1 })
      expect(Object.isFrozen(theirs)).toBe(false)
    } finally {
      Reflect.deleteProperty(Object.prototype, 'theirs')
    }
  })

  test('reaches every level of objects and arrays', () => {
    const value = frozen({ a: { b: [{ c: 1 }] }, list: [[1], [2]] })
    expect(() => {
      value.a.b[0] = { c: 2 }
    }).toThrow(TypeError)
    expect(() => {
      ;(value.a.b[0] as { c: number }).c = 2
    }).toThrow(TypeError)
    expect(() => value.list[0]?.push(2)).toThrow(TypeError)
    expect(() => value.list.reverse()).toThrow(TypeError)
    expect(() => Object.assign(value, { extra: 1 })).toThrow(TypeError)
    expect(() => Reflect.deleteProperty(value, 'a') || expect.fail()).toThrow()
  })

  const dateMutators = mutatorsOf(Date.prototype, /^set/)
  test('Date has the mutators that this suite knows of', () => {
    expect(dateMutators.length).toBeGreaterThanOrEqual(16)
  })
  for (const mutator of dateMutators) {
    test(`Date#${mutator} throws and changes nothing`, () => {
      const value = frozen({ at: new Date(1_000) })
      expect(() => call(value.at, mutator, 0)).toThrow(new TypeError(refusal))
      expect(value.at.getTime()).toBe(1_000)
    })
  }

  for (const mutator of mutatorsOf(Map.prototype, /^(set|delete|clear|getOrInsert)/)) {
    test(`Map#${mutator} throws and changes nothing`, () => {
      const value = frozen(new Map([[1, 'a']]))
      expect(() => call(value, mutator, 1, 'b')).toThrow(new TypeError(refusal))
      expect([...value]).toEqual([[1, 'a']])
    })
  }

  for (const mutator of mutatorsOf(Set.prototype, /^(add|delete|clear)/)) {
    test(`Set#${mutator} throws and changes nothing`, () => {
      const value = frozen(new Set([1]))
      expect(() => call(value, mutator, 1)).toThrow(new TypeError(refusal))
      expect([...value]).toEqual([1])
    })
  }

  test('reaches what lies in a Map, in its keys, and in a Set', () => {
    const key = { k: [1] }
    const item = { at: new Date(0) }
    const member = { m: 1 }
    frozen({ map: new Map([[key, item]]), set: new Set([member]) })
    expect(() => key.k.push(2)).toThrow(TypeError)
    expect(() => item.at.setTime(5)).toThrow(TypeError)
    expect(() => {
      member.m = 2
    }).toThrow(TypeError)
  })

  test('nothing can be hung on a Date, Map or Set, nor their prototype swapped back', () => {
    for (const value of [new Date(), new Map(), new Set()]) {
      const original: unknown = Object.getPrototypeOf(value)
      frozen(value)
      expect(() => Object.assign(value, { setTime: () => 1 })).toThrow(TypeError)
      expect(() => Object.setPrototypeOf(value, original as object)).toThrow(TypeError)
      expect(() => Object.assign(Object.getPrototypeOf(value), { set: 1 })).toThrow(TypeError)
    }
  })

  test('what only reads works as with plain values', () => {
    const make = () => ({
      at: new Date(1_700_000_000_000),
      map: new Map([['k', new Date(1)]]),
      set: new Set([1, 2]),
      rows: [{ id: 1 }],
    })
    const value = frozen(make())
    const plain = make()
    expect(value).toEqual(plain)
    expect(plain).toEqual(value)
    expect(value).toStrictEqual(plain)
    expect(value.at).toBeInstanceOf(Date)
    expect(value.map).toBeInstanceOf(Map)
    expect(value.set).toBeInstanceOf(Set)
    expect([types.isDate(value.at), types.isMap(value.map), types.isSet(value.set)]).toEqual([
      true,
      true,
      true,
    ])
    expect(JSON.stringify(value)).toBe(JSON.stringify(plain))
    expect(inspect(value)).toBe(inspect(plain))
    expect(`${value.at}${+value.at}`).toBe(`${plain.at}${+plain.at}`)
    expectSame(structuredClone(value), plain)
    expectSame([...value.map, ...value.set], [...plain.map, ...plain.set])
    expect(new Date(value.at)).toEqual(plain.at)
    expect(value.map.get('k')?.getTime()).toBe(1)
    expect(value.set.has(2) && value.map.size === 1).toBe(true)
    expect(value.rows.map((row) => row.id)).toEqual([1])
  })

  test('a frozen Date is a pg parameter like any other', () => {
    const { prepareValue } = createRequire(import.meta.url)('pg/lib/utils.js') as {
      prepareValue: (value: unknown) => unknown
    }
    const at = new Date(1_700_000_000_123)
    const text = prepareValue([at, { at }])
    expect(prepareValue(frozen([at, { at }]))).toBe(text)
  })

  test('a frozen value can be encoded again', () => {
    const make = () => [new Date(1), new Map([[1, new Set(['x'])]]), { row: [1, null] }]
    expectSame(defaultCodec.decode(defaultCodec.encode(frozen(make()))), make())
  })

  test('primitives need no freezing', () => {
    for (const value of [1, 'x', null, undefined, 1n, true]) expect(deepFreeze(value)).toBe(true)
  })

  test('says false for binary, however deep it lies', () => {
    for (const binary of [
      Buffer.from('x'),
      Buffer.alloc(0),
      new Float32Array(1),
      new DataView(new ArrayBuffer(1)),
      new ArrayBuffer(1),
    ]) {
      expect(deepFreeze(binary)).toBe(false)
      expect(deepFreeze({ a: [new Map([[1, { binary }]])] })).toBe(false)
    }
  })

  test('a shallow-frozen part does not hide what lies open below it', () => {
    const inner = { open: 1 }
    frozen(Object.freeze({ inner }))
    expect(Object.isFrozen(inner)).toBe(true)
  })

  test('says false for a Date that its maker froze: its slot is open for good', () => {
    expect(deepFreeze({ at: Object.freeze(new Date()) })).toBe(false)
  })

  test('freezing twice is harmless', () => {
    const value = frozen({ at: new Date(0), map: new Map([[1, {}]]) })
    expect(deepFreeze(value)).toBe(true)
    expect(() => value.at.setTime(1)).toThrow(refusal)
  })

  test('data keys such as __proto__ are frozen as data', () => {
    const value = frozen(JSON.parse('{"__proto__":{"a":[1]},"constructor":{"b":1}}')) as object
    for (const part of Object.values(value)) expect(Object.isFrozen(part)).toBe(true)
    expect(Object.isFrozen(Object.values(value)[0].a)).toBe(true)
    expect(Object.isFrozen(Object.prototype)).toBe(false)
  })
})

describe('deepCopy', () => {
  const make = () => ({
    at: new Date(5),
    invalid: new Date(Number.NaN),
    hash: Buffer.from('abc'),
    view: new Uint8Array([1, 2]),
    floats: new Float32Array([0.5]),
    big: 2n ** 70n,
    map: new Map<unknown, unknown>([[{ k: new Date(1) }, [new Set([1, { x: -0 }])]]]),
    nothing: [null, undefined, Number.NaN],
    rows: [{ id: 1, tags: ['a'] }],
  })

  test('copies every type that the codec produces', () => {
    expectSame(deepCopy(make()), make())
    expect(Buffer.isBuffer(deepCopy(Buffer.from('x')))).toBe(true)
  })

  test('of a frozen value is mutable and plain all the way down', () => {
    const { hash: _, view: __, floats: ___, ...freezable } = make()
    const value = frozen(freezable)
    const copy = deepCopy(value)
    expectSame(copy.at, new Date(5))
    copy.at.setFullYear(1999)
    copy.map.clear()
    copy.rows[0]?.tags.push('b')
    copy.rows.push({ id: 2, tags: [] })
    expect(value.at.getTime()).toBe(5)
    expect(value.map.size).toBe(1)
    expect(value.rows).toEqual([{ id: 1, tags: ['a'] }])
  })

  test('shares nothing with its source, not even memory of buffers', () => {
    const source = make()
    const copy = deepCopy(source)
    copy.hash[0] = 0
    copy.view[0] = 9
    copy.floats[0] = 9
    for (const key of copy.map.keys()) (key as { k: Date }).k.setTime(9)
    for (const [list] of copy.map.values() as Iterable<[Set<unknown>]>) list.clear()
    copy.rows[0]?.tags.pop()
    expectSame(source, make())
  })

  test('keeps __proto__ a property and leaves the prototype alone', () => {
    const value: unknown = JSON.parse('{"__proto__":{"isAdmin":[true]},"a":1}')
    const copy = deepCopy(value) as object
    expectSame(copy, value)
    expect(Object.getPrototypeOf(copy)).toBe(Object.prototype)
    expect('isAdmin' in copy).toBe(false)
    expect(Object.values(copy)[0]).not.toBe(Object.values(value as object)[0])
  })

  test('what was shared inside the source is shared inside the copy', () => {
    const shared = { n: 1 }
    const copy = deepCopy([shared, shared])
    expect(copy[0]).toBe(copy[1])
    expect(copy[0]).not.toBe(shared)
  })
})

test('poison: what one caller tries on a cached value, no other caller sees', () => {
  const bytes = defaultCodec.encode({ id: 1, at: new Date(7), tags: ['a'], seen: new Set([1]) })
  type City = { id: number; at: Date; tags: string[]; seen: Set<number> }
  const cached = frozen(defaultCodec.decode(bytes) as City)
  const attacks: ((city: City) => unknown)[] = [
    (city) => Object.assign(city, { id: 2 }),
    (city) => city.at.setTime(0),
    (city) => city.tags.push('b'),
    (city) => city.seen.clear(),
    (city) => Object.defineProperty(city, 'id', { value: 3 }),
    (city) => Object.setPrototypeOf(city, { id: 4 }),
  ]
  for (const attack of attacks) expect(() => attack(cached)).toThrow(TypeError)
  expectSame(deepCopy(cached), defaultCodec.decode(bytes))
})

test('poison: a value with a Buffer is served as copies, so no caller reaches another one', () => {
  const cached = defaultCodec.decode(defaultCodec.encode({ hash: Buffer.from('abc') })) as {
    hash: Buffer
  }
  expect(deepFreeze(cached)).toBe(false)
  deepCopy(cached).hash.fill(0)
  expect(deepCopy(cached).hash.toString()).toBe('abc')
})

describe('both end on anything that corrupt bytes may decode to', () => {
  test('cycles', () => {
    const cycle: Record<string, unknown> = { map: new Map() }
    cycle.self = [cycle]
    ;(cycle.map as Map<unknown, unknown>).set(cycle, cycle)
    const copy = deepCopy(cycle) as { self: [unknown] }
    expect(copy.self[0]).toBe(copy)
    expect(deepFreeze(cycle)).toBe(true)
  })

  test('an array of 4 billion holes', () => {
    const sparse: unknown[] = []
    sparse[4_000_000_000] = { open: [1] }
    const copy = deepCopy(sparse)
    expect(copy.length).toBe(4_000_000_001)
    expect(copy[4_000_000_000]).not.toBe(sparse[4_000_000_000])
    expect(deepFreeze(sparse)).toBe(true)
    expect(Object.isFrozen(sparse[4_000_000_000])).toBe(true)
  })

  test('a long dense array', () => {
    const rows = Array.from({ length: 150_000 }, (_, id) => ({ id }))
    expect(deepCopy(rows)).toHaveLength(150_000)
    expect(deepCopy(rows)[149_999]).toEqual({ id: 149_999 })
    frozen(rows)
    expect(Object.isFrozen(rows[149_999])).toBe(true)
  })

  test('100,000 levels', () => {
    let deep: unknown[] = []
    for (let level = 0; level < 100_000; level++) deep = [deep]
    expect(deepCopy(deep).length).toBe(1)
    expect(deepFreeze(deep)).toBe(true)
  })

  test('a DAG whose tree has 2^60 leaves', () => {
    let dag: unknown = { leaf: true }
    for (let level = 0; level < 60; level++) dag = { left: dag, right: dag }
    expect(deepFreeze(deepCopy(dag))).toBe(true)
  })
})
