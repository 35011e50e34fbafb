import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import {
  encodeEvent,
  eventVersion,
  longestNote,
  mostEventBytes,
  mostEventIds,
  parseEvent,
  poisonReasons,
} from '../../../src/model/event.ts'
import { longestIdText } from '../../../src/model/id.ts'
import { accepts } from '../../support/json-schema.ts'

const parse = (event: unknown) => parseEvent(Buffer.from(JSON.stringify(event)), 'shop')
const good = { version: 1, entity: 'city', ids: [42, 'é', '007'] }

const page = readFileSync(new URL('../../../docs/events.md', import.meta.url), 'utf8')
const schema = JSON.parse(
  readFileSync(new URL('../../../docs/events.schema.json', import.meta.url), 'utf8'),
)

test('an event is its entity and the texts of its ids, with what is known beside or not', () => {
  const parsed = { kind: 'event', entity: 'city', ids: ['42', 'é', '007'] }
  expect(parse(good)).toEqual(parsed)
  const notes = { at: '2026-11-22T12:00:00.5+01:00', source: 'billing', eventId: 'e-1' }
  expect(parse({ ...good, namespace: 'shop', ...notes, trace: { deep: [] } })).toEqual(parsed)
  expect(parseEvent(encodeEvent('shop', 'city', good.ids, notes), 'shop')).toEqual(parsed)
  // A byte order mark, as some editors leave it.
  expect(parseEvent(Buffer.from(`\ufeff${JSON.stringify(good)}`), 'shop')).toEqual(parsed)
})

const many = Array.from({ length: mostEventIds + 1 }, (_, id) => id)
const long = 'x'.repeat(longestIdText + 1)
const malformed: readonly (readonly [string, unknown])[] = [
  ['null', null],
  ['an array', []],
  ['a number', 1],
  ['no version', { entity: 'city', ids: [1] }],
  ['a version that is text', { ...good, version: '1' }],
  ['version 0', { ...good, version: 0 }],
  ['version 1.5', { ...good, version: 1.5 }],
  ['no entity', { version: 1, ids: [1] }],
  ['an entity that is no name', { ...good, entity: 'city; drop table' }],
  ['an entity with a NUL', { ...good, entity: 'city\0' }],
  ['an entity that goes on after a line', { ...good, entity: 'city\n' }],
  ['a long entity', { ...good, entity: 'x'.repeat(65) }],
  ['no ids', { version: 1, entity: 'city' }],
  ['ids that are none', { ...good, ids: [] }],
  ['too many ids', { ...good, ids: many }],
  ['ids that are like an array', { ...good, ids: { length: 1, 0: 'a' } }],
  ['an id that is null', { ...good, ids: [null] }],
  ['an id that is an object', { ...good, ids: [{ toString: 'a' }] }],
  ['an empty id', { ...good, ids: [''] }],
  ['a long id', { ...good, ids: [long] }],
  ['an id with a NUL', { ...good, ids: ['a\0b'] }],
  ['half of a surrogate pair', { ...good, ids: ['\ud800'] }],
  ['a fraction', { ...good, ids: [1.5] }],
  ['a number that was rounded', { ...good, ids: [2 ** 53] }],
  ['a namespace that is no text', { ...good, namespace: 7 }],
  ['a time that is none', { ...good, at: 'yesterday' }],
  ['a time in milliseconds', { ...good, at: 1_700_000_000_000 }],
  ['a long source', { ...good, source: 'x'.repeat(longestNote + 1) }],
  ['an eventId that is no text', { ...good, eventId: 1 }],
]

test.each(malformed)('malformed: %s', (_, event) => {
  expect(parse(event)).toMatchObject({ kind: 'poison', reason: 'malformed' })
})

test('what is no JSON text, too large, of another version or namespace, is told as such', () => {
  const reasonOf = (bytes: Uint8Array | null) => {
    const answer = parseEvent(bytes, 'shop')
    return answer.kind === 'poison' ? answer.reason : answer.kind
  }
  expect(reasonOf(null)).toBe('empty')
  expect(reasonOf(Buffer.alloc(0))).toBe('empty')
  expect(reasonOf(Buffer.from([0x7b, 0xff, 0x7d]))).toBe('not-text')
  expect(reasonOf(Buffer.from('{"version":1'))).toBe('not-json')
  expect(reasonOf(Buffer.from('{"version":1,"entity":"city","ids":[1e999]}'))).toBe('malformed')
  expect(reasonOf(Buffer.from('['.repeat(mostEventBytes)))).toBe('not-json')
  const deep = `{"version":1,"entity":"city","ids":[1],"x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`
  expect(['event', 'not-json']).toContain(reasonOf(Buffer.from(deep)))
  const padded = (bytes: number) => Buffer.from(JSON.stringify(good).padEnd(bytes))
  expect(reasonOf(padded(mostEventBytes - 1))).toBe('event')
  expect(reasonOf(padded(mostEventBytes + 1))).toBe('too-large')
  expect(parse({ version: 2, whatever: true })).toMatchObject({ reason: 'future-version' })
  expect(parse({ ...good, namespace: 'other' })).toMatchObject({ reason: 'other-namespace' })
})

test('what Object.prototype has is no field, and nothing gets into it', () => {
  const text =
    '{"__proto__":{"version":1,"entity":"city","ids":[1]},"constructor":{"prototype":{"polluted":1}}}'
  expect(parseEvent(Buffer.from(text), 'shop')).toMatchObject({ reason: 'malformed' })
  expect(({} as { polluted?: number }).polluted).toBeUndefined()
})

test('nothing of what came stands in the detail', () => {
  for (const [, event] of malformed) {
    const answer = parse(event)
    expect(answer.kind === 'poison' && answer.detail).not.toMatch(/drop table|yesterday|xxxx/)
  }
})

test('docs/events.schema.json says the same as the code', () => {
  const events = [
    good,
    { ...good, at: '2026-11-22T12:00:00Z', more: 1 },
    { ...good, ids: ['a\u0001'] },
  ]
  for (const event of events) expect(accepts(schema, event)).toBe(true)
  for (const [name, event] of malformed) {
    // A schema knows no halves of characters.
    const isAccepted = name === 'half of a surrogate pair'
    expect({ name, isAccepted: accepts(schema, event) }).toEqual({ name, isAccepted })
  }
  expect(accepts(schema, { ...good, version: eventVersion + 1 })).toBe(false)
  expect(accepts(schema, { ...good, ids: many.slice(1) })).toBe(true)
  expect(accepts(schema, { ...good, source: 'x'.repeat(longestNote) })).toBe(true)
  expect(schema.description).toContain(String(mostEventBytes))
})

test('docs/events.md has every reason, and its example is an event', () => {
  for (const reason of poisonReasons) expect(page).toContain(`| \`${reason}\` |`)
  const [, example = ''] = /```json\n(.*?)```/s.exec(page) ?? []
  expect(parseEvent(Buffer.from(example), 'shop')).toMatchObject({ kind: 'event' })
  expect(accepts(schema, JSON.parse(example))).toBe(true)
})
