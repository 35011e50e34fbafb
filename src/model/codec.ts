/**
 * Turns a cached value into bytes and back.
 *
 * `defaultCodec` promises: what comes back is the same in every tier (decode ∘ encode is
 * idempotent) for plain objects, arrays, strings, numbers (-0, NaN and infinities too), booleans,
 * null, undefined, bigint, Date, Map, Set, Buffer and typed arrays. Every key, `__proto__` as well,
 * comes back as an own property. A class instance comes back as a plain object of its own
 * properties, so that row classes work. What would lose its meaning (functions, symbols, instances
 * with a toJSON or inner slots such as URL, RegExp, Error) and cycles throw a TypeError with the path.
 *
 * Two formats, told apart by the first byte. Small JSON-only values are JSON: two thirds of the time
 * of V8's format, and readable in redis-cli. All others are V8's structured-clone format (it begins
 * with 0xff, which no UTF-8 has): faster from about 1 KB on, right for every type. A newer V8 reads
 * what an older one wrote; the other way round decode throws, which the cache counts as a miss.
 * Equal values may have unequal bytes (an array's inner representation shows): never compare those.
 * Why not msgpackr: docs/decisions/0001-default-codec.md.
 */

import { isDate, isMap, isSet, isTypedArray } from 'node:util/types'
import { DefaultDeserializer, serialize } from 'node:v8'
import { deepCopy } from './freeze.ts'

export interface Codec {
  readonly name: string
  /** Throws a TypeError for a value that it can't give back. */
  encode(value: unknown): Buffer
  /** Throws an Error for bytes that it didn't write. Keeps no reference to them. */
  decode(bytes: Uint8Array): unknown
}

export const defaultCodec: Codec = { name: 'json-v8', encode, decode }

/** Where V8's format overtakes JSON, encode and decode together, in units of `surveyedSize`. */
const maxJsonSize = 1_024
const maxDepth = 1_000
/** Redis takes no larger value; also ends the walk through a small DAG that is a huge tree. */
const maxSize = 512 * 1024 * 1024
const v8FirstByte = 0xff

function encode(value: unknown): Buffer {
  surveyedSize = 0
  const isJson = survey(value, 0)
  if (isJson && surveyedSize <= maxJsonSize) return Buffer.from(JSON.stringify(value))
  try {
    return serialize(value)
  } catch {
    // V8 refuses what looked plain to the survey: proxies, arrays with methods attached.
    return serialize(deepCopy(value))
  }
}

function decode(bytes: Uint8Array): unknown {
  try {
    const buffer = Buffer.isBuffer(bytes)
      ? bytes
      : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    if (buffer[0] !== v8FirstByte) return JSON.parse(buffer.toString())
    const deserializer = new OwningDeserializer(buffer)
    deserializer.readHeader()
    return deserializer.readValue()
  } catch (cause) {
    throw new Error(`not a value that the codec ${defaultCodec.name} wrote`, { cause })
  }
}

/** Documented by Node, missing in @types/node. */
type HostObjectReader = { _readHostObject(): NodeJS.TypedArray }
const NodeDeserializer = DefaultDeserializer as unknown as new (
  bytes: Buffer,
) => DefaultDeserializer & HostObjectReader

class OwningDeserializer extends NodeDeserializer {
  /** Node hands out views into the bytes read, which would keep a whole socket chunk alive. */
  override _readHostObject(): NodeJS.TypedArray {
    const view = super._readHostObject()
    return Buffer.isBuffer(view) ? Buffer.from(view) : view.slice()
  }
}

// Outside of the survey, so that no path is built on the way down: only a refusal needs one.
let surveyedSize = 0
const path: (string | number)[] = []

/** Whether JSON can hold the value; throws for what no format can. */
function survey(value: unknown, depth: number): boolean {
  surveyedSize += 8
  switch (typeof value) {
    case 'string':
      surveyedSize += value.length
      return true
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0)
    case 'boolean':
      return true
    case 'bigint':
    case 'undefined':
      return false
    case 'object':
      return value === null || surveyObject(value, depth)
    default:
      throw refusal(depth, `a ${typeof value}`)
  }
}

function surveyObject(value: object, depth: number): boolean {
  if (depth > maxDepth) throw refusal(depth, `nested over ${maxDepth} levels: is it inside itself?`)
  if (surveyedSize > maxSize) throw refusal(depth, 'part of a value larger than 512 MB')
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null) return surveyProperties(value, depth)
  const hasToJson = 'toJSON' in value && typeof value.toJSON === 'function'
  if (Array.isArray(value) && !hasToJson) return surveyItems(value, depth)
  if (isDate(value)) return false
  if (isTypedArray(value)) {
    surveyedSize += value.byteLength
    return false
  }
  if (isMap(value)) {
    surveyItems(value.keys(), depth)
    surveyItems(value.values(), depth)
    return false
  }
  if (isSet(value)) {
    surveyItems(value, depth)
    return false
  }
  // Inner slots show in the built-in tag; a row class has none.
  const isRow = Object.prototype.toString.call(value) === '[object Object]'
  if (hasToJson || !isRow) throw refusal(depth, `an instance of ${classOf(value)}`)
  return surveyProperties(value, depth)
}

function surveyProperties(value: object, depth: number): boolean {
  let isJson = true
  for (const key of Object.keys(value)) {
    path[depth] = key
    if (!survey((value as Record<string, unknown>)[key], depth + 1)) isJson = false
  }
  return isJson
}

function surveyItems(items: Iterable<unknown>, depth: number): boolean {
  let isJson = true
  let index = 0
  for (const item of items) {
    path[depth] = index++
    if (!survey(item, depth + 1)) isJson = false
  }
  return isJson
}

/** An entry of a Map or Set is named by its position. */
function refusal(depth: number, problem: string): TypeError {
  const shown = path.slice(0, Math.min(depth, 20)).map((step) => {
    if (typeof step === 'number') return `[${step}]`
    return /^[A-Za-z_$][\w$]*$/.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`
  })
  const where = `$${shown.join('')}${depth > 20 ? '…' : ''}`
  return new TypeError(`${where} can't be cached: it is ${problem}`)
}

function classOf(value: object): string {
  const maker: unknown = value.constructor
  return typeof maker === 'function' && maker.name !== '' ? maker.name : 'a class'
}
