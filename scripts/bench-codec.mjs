/**
 * Compares the default codec with what else could have been taken: `npm run build`, then
 * `node scripts/bench-codec.mjs`. Every round runs all candidates, so that a slow moment of the
 * machine hits all alike; printed are median ratios to JSON of the same round, with the middle 80 %.
 * JSON itself is no candidate: it turns dates into strings.
 */

import v8 from 'node:v8'
import { Packr } from 'msgpackr'
import { defaultCodec } from '../dist/model/codec.js'
import { deepCopy, deepFreeze } from '../dist/model/freeze.js'

const rounds = 41
const msgpackr = (options) => {
  const packr = new Packr({ moreTypes: true, mapsAsObjects: false, ...options })
  return [(value) => packr.pack(value), (bytes) => packr.unpack(bytes)]
}

const json = [
  (value) => Buffer.from(JSON.stringify(value)),
  (bytes) => JSON.parse(bytes.toString()),
]
const candidates = {
  json,
  [`default (${defaultCodec.name})`]: [defaultCodec.encode, defaultCodec.decode],
  v8: [(value) => v8.serialize(value), (bytes) => v8.deserialize(bytes)],
  'json, dates tagged': [
    (value) => Buffer.from(JSON.stringify(tagDates(value))),
    (bytes) => restoreDates(JSON.parse(bytes.toString())),
  ],
  'msgpackr, maps': msgpackr({ useRecords: false, mapsAsObjects: true }),
  'msgpackr, records': msgpackr({ useRecords: true }),
  'msgpackr, bundled': msgpackr({ useRecords: true, bundleStrings: true }),
  'msgpackr, cloning': msgpackr({ useRecords: true, structuredClone: true }),
}

for (const [name, value] of Object.entries(payloads())) {
  const repeats = Math.max(5, Math.round(200_000 / json[0](value).length))
  report(name, measure(value, repeats))
}

function measure(value, repeats) {
  const samples = {}
  for (const [name, [encode]] of Object.entries(candidates)) {
    samples[name] = { size: encode(value).length, encode: [], decode: [] }
  }
  const after = { freeze: [], copy: [], structuredClone: [] }
  for (let round = 0; round < rounds; round++) {
    for (const [name, [encode, decode]] of Object.entries(candidates)) {
      const bytes = Buffer.from(encode(value))
      samples[name].encode.push(microseconds(repeats, () => encode(value)))
      samples[name].decode.push(microseconds(repeats, () => decode(bytes)))
    }
    const bytes = defaultCodec.encode(value)
    const decoded = Array.from({ length: repeats }, () => defaultCodec.decode(bytes))
    after.structuredClone.push(microseconds(repeats, (i) => structuredClone(decoded[i])))
    after.copy.push(microseconds(repeats, (i) => deepCopy(decoded[i])))
    after.freeze.push(microseconds(repeats, (i) => deepFreeze(decoded[i])))
  }
  return { samples, after }
}

function microseconds(repeats, act) {
  const start = process.hrtime.bigint()
  for (let i = 0; i < repeats; i++) act(i)
  return Number(process.hrtime.bigint() - start) / 1_000 / repeats
}

function report(payload, { samples, after }) {
  console.log(`\n${payload}, Node ${process.version}`)
  console.log('                       bytes      encode µs  × json            decode µs  × json')
  for (const [name, { size, encode, decode }] of Object.entries(samples)) {
    const cells = [name.padEnd(20), String(size).padStart(7)]
    for (const [mine, base] of [
      [encode, samples.json.encode],
      [decode, samples.json.decode],
    ]) {
      const ratios = mine.map((took, round) => took / base[round])
      const spread = `${quantile(ratios, 0.1).toFixed(2)}–${quantile(ratios, 0.9).toFixed(2)}`
      cells.push(quantile(mine, 0.5).toFixed(2).padStart(10))
      cells.push(`${quantile(ratios, 0.5).toFixed(2)} (${spread})`.padEnd(16))
    }
    console.log(cells.join('  '))
  }
  const took = Object.entries(after).map(([name, s]) => `${name} ${quantile(s, 0.5).toFixed(2)} µs`)
  console.log(`  once decoded: ${took.join(', ')}`)
}

function quantile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.floor(share * (sorted.length - 1))]
}

/** The rejected variant: strings that begin with DEL are dates. */
function tagDates(value) {
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Date) return `\x7f${value.getTime()}`
  if (Array.isArray(value)) return value.map(tagDates)
  let tagged = value
  for (const key of Object.keys(value)) {
    const item = tagDates(value[key])
    if (item === value[key]) continue
    if (tagged === value) tagged = { ...value }
    tagged[key] = item
  }
  return tagged
}

function restoreDates(value) {
  for (const key of Object.keys(value)) {
    const item = value[key]
    if (typeof item === 'object' && item !== null) restoreDates(item)
    else if (typeof item === 'string' && item.charCodeAt(0) === 0x7f) {
      value[key] = new Date(Number(item.slice(1)))
    }
  }
  return value
}

function payloads() {
  const random = mulberry32(7)
  const below = (limit) => Math.floor(random() * limit)
  const word = (length) =>
    Array.from({ length }, () => String.fromCharCode(97 + below(26))).join('')
  const row = (id) => ({
    id: 100_000 + id,
    email: `${word(8)}@example.com`,
    name: `${word(6)} ${word(9)}`,
    visits: below(100_000),
    score: below(1_000_000) / 10_000,
    active: random() > 0.5,
    deleted_at: null,
    created_at: new Date(1.6e12 + below(8e10)),
    updated_at: new Date(1.7e12 + below(8e7)),
  })
  const order = {
    ...row(2),
    status: 'shipped',
    notes: Array.from({ length: 20 }, () => word(7)).join(' '),
    address: {
      street: `${word(14)} 12`,
      city: 'Zürich',
      location: { lat: random(), lon: random() },
    },
    tags: ['new', 'priority', word(5)],
    items: Array.from({ length: 13 }, () => ({
      sku: `SKU-${word(8)}`,
      title: `${word(8)} ${word(6)} ${word(4)}`,
      quantity: 1 + below(9),
      unit_price: below(10_000) / 100,
      discount: null,
    })),
  }
  const { created_at, updated_at, ...plain } = row(1)
  return {
    '200 B, row without dates': { ...plain, city_id: 7, plan: 'business', country: 'CH' },
    '200 B, row with two dates': row(1),
    '2 KB, order with items': order,
    '100 KB, list of rows': {
      total: 450,
      rows: Array.from({ length: 450 }, (_, id) => ({ ...row(id), city: word(8) })),
    },
  }
}

function mulberry32(seed) {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
