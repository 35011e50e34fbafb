/** Whatever lies in the topic: an answer, in time, and what schema and code accept is the same. */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeDeadLetter, encodeLetter, encodeReplayed } from '../../src/model/dead-letter.ts'
import { mostEventBytes, parseEvent, poisonReasons } from '../../src/model/event.ts'
import { accepts } from '../support/json-schema.ts'

const schema = JSON.parse(
  readFileSync(new URL('../../docs/events.schema.json', import.meta.url), 'utf8'),
)

const text = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.constantFrom('', 'city', 'shop', 'a\0'),
)
const value = fc.oneof(text, fc.integer(), fc.double(), fc.jsonValue(), fc.constant(1))
const id = fc.oneof(text, fc.integer(), fc.maxSafeInteger(), fc.double())
/** Mostly right, with something or other wrong. */
const event = fc.record(
  {
    version: fc.oneof(
      { weight: 9, arbitrary: fc.constant<unknown>(1) },
      { weight: 1, arbitrary: value },
    ),
    entity: fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom<unknown>('city', 'user:profile') },
      { weight: 1, arbitrary: value },
    ),
    ids: fc.oneof(fc.array(id, { minLength: 1, maxLength: 4 }), value),
    namespace: fc.oneof(fc.constant('shop'), fc.constant(undefined)),
    at: fc.oneof(fc.constant('2026-01-31T12:00:00Z'), fc.constant(undefined), value),
    source: fc.oneof(text, fc.constant(undefined)),
    extra: fc.jsonValue(),
  },
  { requiredKeys: ['version', 'entity', 'ids'] },
)

test('any bytes have an answer', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const answer = parseEvent(bytes, 'shop')
      if (answer.kind === 'poison') expect(poisonReasons).toContain(answer.reason)
    }),
  )
})

test('the code accepts what the schema does, and no more', () => {
  const seen = { accepted: 0, refused: 0 }
  fc.assert(
    fc.property(event, (one) => {
      const json = JSON.stringify(one)
      const isAccepted = parseEvent(Buffer.from(json), 'shop').kind === 'event'
      seen[isAccepted ? 'accepted' : 'refused']++
      const parsed = JSON.parse(json) as unknown
      // Halves of characters are beyond what a schema can say.
      const isWhole = JSON.stringify(parsed).isWellFormed() && !/\\ud[89a-f]/i.test(json)
      if (isAccepted || isWhole) expect(isAccepted).toBe(accepts(schema, parsed))
    }),
    { numRuns: 2_000 },
  )
  expect(Math.min(seen.accepted, seen.refused)).toBeGreaterThan(100)
})

const bytesOrNull = fc.option(fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)))

test('a dead letter comes back as it was', () => {
  fc.assert(
    fc.property(
      bytesOrNull,
      bytesOrNull,
      fc.nat(),
      fc.bigInt(0n, 2n ** 62n),
      (key, poison, partition, at) => {
        const from = { partition, offset: String(at) }
        const letter = {
          event: { ...from, key, value: poison },
          reason: 'malformed',
          detail: 'x',
        } as const
        const time = '2026-01-31T12:00:00.000Z'
        expect(decodeDeadLetter(encodeLetter(letter, 'lockstep.shop.events', time))).toEqual({
          kind: 'letter',
          reason: 'malformed',
          detail: 'x',
          from: { topic: 'lockstep.shop.events', ...from },
          at: time,
          bytes: poison?.length ?? 0,
          isTruncated: false,
          key,
          value: poison,
        })
        expect(decodeDeadLetter(encodeReplayed(from, time))).toEqual({
          kind: 'replayed',
          letter: from,
          at: time,
        })
      },
    ),
  )
})

test('a dead letter of what is too large says so, and has its beginning', () => {
  const poison = Buffer.alloc(mostEventBytes + 7, 0x61)
  const event = { partition: 1, offset: '2', key: null, value: poison }
  const read = decodeDeadLetter(
    encodeLetter({ event, reason: 'too-large', detail: '' }, 't', 'now'),
  )
  expect(read).toMatchObject({ isTruncated: true, bytes: mostEventBytes + 7 })
  expect(read.kind === 'letter' && read.value?.length).toBe(mostEventBytes)
})

test('whatever else lies with the dead letters is unreadable, never an exception', () => {
  const hostile = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    fc.jsonValue().map((json) => Buffer.from(JSON.stringify(json))),
    fc.jsonValue().map((json) =>
      Buffer.from(
        JSON.stringify({
          version: 1,
          kind: 'letter',
          partition: 0,
          offset: '1',
          at: 'x',
          reason: json,
        }),
      ),
    ),
  )
  fc.assert(
    fc.property(hostile, (bytes) => {
      expect(decodeDeadLetter(bytes)).toEqual({ kind: 'unreadable' })
    }),
  )
})
