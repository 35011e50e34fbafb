/**
 * Makes a decoded value safe to hand to many callers, and copies it for the one who wants to change it.
 *
 * `deepFreeze` promises: after `true` no caller can change what another one reads, by assignment or
 * by a mutator. `Object.freeze` alone doesn't reach the slots of Date, Map and Set, so their
 * prototype is swapped for one whose mutators throw. Everything that only reads keeps working:
 * instanceof, JSON, structuredClone, a pg parameter, toEqual. What tells them apart from plain ones
 * is the prototype itself (`assert.deepStrictEqual` looks at it) and who breaks in on purpose
 * (`Date.prototype.setTime.call`).
 *
 * Neither function recurses, and both end on any object graph, cycles and DAGs included: corrupt
 * bytes may decode to those.
 */

import { isAnyArrayBuffer, isDate, isMap, isSet, isTypedArray } from 'node:util/types'

/** Freezes in place; `false` when something in it can't be frozen (binary), so serve copies. */
export function deepFreeze(value: unknown): boolean {
  if (!isObject(value)) return true
  const pending = [value]
  let revisited: Set<object> | undefined
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (Object.isFrozen(node)) {
      // Shared, or frozen by its maker, who may have left its inside open: look inside, but once.
      revisited ??= new Set()
      if (revisited.has(node)) continue
      revisited.add(node)
    }
    if (!prepare(node, pending)) return false
    Object.freeze(node)
  }
  return true
}

/** A mutable copy of what a codec produces; a class instance becomes a plain object. */
export function deepCopy<T>(value: T): T {
  if (!isObject(value)) return value
  const copies = new Map<object, object>()
  const pending: object[] = []
  const copyOf = (child: unknown): unknown => {
    if (!isObject(child)) return child
    let copy = copies.get(child)
    if (copy === undefined) {
      copy = shallowCopy(child)
      copies.set(child, copy)
      pending.push(copy)
    }
    return copy
  }
  const root = copyOf(value)
  for (let copy = pending.pop(); copy !== undefined; copy = pending.pop()) {
    replaceChildren(copy, copyOf)
  }
  return root as T
}

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null

/** A sparse array (corrupt bytes make one of 4 billion) must cost its entries, not its length. */
const maxDenseLength = 100_000

/** Adds what is inside the node; false when freezing would not protect the node. */
function prepare(node: object, pending: object[]): boolean {
  if (Object.getPrototypeOf(node) === Object.prototype) return addProperties(node, pending)
  if (Array.isArray(node)) {
    return addObjects(node.length <= maxDenseLength ? node : Object.values(node), pending)
  }
  if (isDate(node)) return makeReadOnly(node, readOnlyDate)
  if (isMap(node)) {
    addObjects([...node.keys(), ...node.values()], pending)
    return makeReadOnly(node, readOnlyMap)
  }
  if (isSet(node)) {
    addObjects([...node], pending)
    return makeReadOnly(node, readOnlySet)
  }
  if (ArrayBuffer.isView(node) || isAnyArrayBuffer(node)) return false
  return addObjects(Object.values(node), pending)
}

/** Most values are flat rows, for which this makes no list, as `Object.values` does, with a box for each fraction. */
function addProperties(node: object, pending: object[]): true {
  for (const name in node) {
    const child = (node as Record<string, unknown>)[name]
    // Also names what others have added to Object.prototype, which is not ours to freeze.
    if (isObject(child) && Object.hasOwn(node, name)) pending.push(child)
  }
  return true
}

function addObjects(items: readonly unknown[], pending: object[]): true {
  for (const item of items) if (isObject(item)) pending.push(item)
  return true
}

function makeReadOnly(node: object, prototype: object): boolean {
  if (Object.getPrototypeOf(node) === prototype) return true
  // Frozen by its maker: its slots are open and its prototype can't be swapped any more.
  if (!Object.isExtensible(node)) return false
  Object.setPrototypeOf(node, prototype)
  return true
}

const readOnlyDate = readOnly(Date.prototype)
const readOnlyMap = readOnly(Map.prototype)
const readOnlySet = readOnly(Set.prototype)

function readOnly(prototype: object): object {
  const heir: object = Object.create(prototype)
  for (const name of Object.getOwnPropertyNames(prototype)) {
    // By pattern, so that mutators of later Node versions (getOrInsert) are covered too.
    if (/^(set|add|delete|clear|getOrInsert)/.test(name)) {
      Object.defineProperty(heir, name, { value: refuseMutation })
    }
  }
  return Object.freeze(heir)
}

function refuseMutation(): never {
  throw new TypeError('cached values are frozen; copy before changing')
}

function shallowCopy(source: object): object {
  if (Array.isArray(source)) {
    if (source.length <= maxDenseLength) return [...source]
    return Object.assign(Object.assign([], { length: source.length }), source)
  }
  if (isDate(source)) return new Date(source.getTime())
  if (isMap(source)) return new Map(source)
  if (isSet(source)) return new Set(source)
  if (Buffer.isBuffer(source)) return Buffer.from(source)
  if (isTypedArray(source)) return source.slice()
  // Not key by key: assigning to `__proto__` would call its setter, spreading makes it a property.
  return { ...source }
}

function replaceChildren(copy: object, copyOf: (child: unknown) => unknown): void {
  if (isMap(copy)) {
    const entries = [...copy]
    copy.clear()
    for (const [key, item] of entries) copy.set(copyOf(key), copyOf(item))
  } else if (isSet(copy)) {
    const items = [...copy]
    copy.clear()
    for (const item of items) copy.add(copyOf(item))
  } else if (!ArrayBuffer.isView(copy)) {
    const children = copy as Record<string, unknown>
    for (const key of Object.keys(copy)) {
      const child = children[key]
      if (isObject(child)) children[key] = copyOf(child)
    }
  }
}
