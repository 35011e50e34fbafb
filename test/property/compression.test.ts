/** A value on its way to L2 and back: compressed or not it is the same, and damaged it is a miss. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { candidateFromL2, forL2, loadedValue } from '../../src/coordinator/values.ts'
import { compress, decompress } from '../../src/model/compression.ts'
import { type AnyEntity, defineEntity } from '../../src/model/entity.ts'
import { encodeEnvelope } from '../../src/model/envelope.ts'
import { lookupOf } from '../../src/redis/answers.ts'
import { anySnapshot, snapshot } from '../support/arbitrary.ts'

const mostBytes = 10_000
const entityWith = (above: number): AnyEntity =>
  defineEntity('thing', {
    load: async () => [],
    id: (row: { id: number }) => row.id,
    compress: { above },
    maxValueBytes: mostBytes,
  })

/** Parts that come again, and some that don't. */
const bytes = fc
  .array(
    fc.record({ part: fc.uint8Array({ maxLength: 60 }), times: fc.integer({ min: 1, max: 40 }) }),
    { maxLength: 6 },
  )
  .map((parts) =>
    Buffer.concat(parts.flatMap(({ part, times }) => new Array<Uint8Array>(times).fill(part))),
  )
const rows = bytes.map((content) => ({
  id: 1,
  text: content.toString('latin1'),
  bytes: Buffer.from(content.subarray(0, 100)),
}))

test('bytes come back as they were, where compressing them saves a tenth', () => {
  fc.assert(
    fc.property(bytes, (payload) => {
      const small = compress(payload)
      if (!small) return
      expect(small.length).toBeLessThanOrEqual(payload.length * 0.9)
      expect(decompress(small, payload.length)).toEqual(payload)
    }),
    { numRuns: 500 },
  )
})

/** What lies in Redis of a loaded row, and what a reader has of it. */
function stored(entity: AnyEntity, row: object, under: ReturnType<typeof snapshot>) {
  const loaded = loadedValue(entity, row, under, 0, () => 0.5)
  const { payload, form, ttlMs } = forL2(entity, loaded)
  const lying = encodeEnvelope({
    snapshot: loaded.candidate.snapshot,
    createdAtMs: 1_000,
    softExpiryMs: 1_000 + ttlMs,
    payload,
    form,
  })
  return { lying, form, loaded }
}

const nothingBeside = { barrier: undefined, generation: undefined }

function read(entity: AnyEntity, lying: Buffer): unknown {
  const lookup = lookupOf(lying, nothingBeside, 2_000, 0)
  if (lookup.kind === 'miss') return 'a miss'
  if (lookup.kind === 'unavailable') throw lookup.cause
  if (lookup.kind === 'refused') throw new Error('nobody asked a filter')
  if (lookup.stored.form === 'too-big') return 'too big'
  return candidateFromL2(entity, lookup.stored, 0) ?? 'a miss'
}

test('a row is the same in every tier, compressed or not, and weighs the same', () => {
  fc.assert(
    fc.property(rows, anySnapshot, fc.nat(4_000), (row, under, above) => {
      const entity = entityWith(above + 1)
      const { lying, loaded } = stored(entity, row, under)
      if (loaded.isTooBig) {
        expect(read(entity, lying)).toBe('too big')
        return
      }
      const { value, weightBytes } = loaded.candidate
      expect(read(entity, lying)).toMatchObject({ value, weightBytes })
    }),
    { numRuns: 500 },
  )
})

test('any damage of what was compressed is a miss', () => {
  const entity = entityWith(1)
  const row = { id: 1, text: 'what comes again and again, '.repeat(20) }
  const { lying, form } = stored(entity, row, snapshot('10:12:11'))
  expect(form).toBe('compressed')
  const answers = new Set<unknown>()
  for (let bit = 0; bit < lying.length * 8; bit++) {
    const damaged = Buffer.from(lying)
    damaged[bit >> 3] = (damaged[bit >> 3] as number) ^ (1 << (bit & 7))
    answers.add(read(entity, damaged))
  }
  for (let length = 0; length < lying.length; length++) {
    answers.add(read(entity, lying.subarray(0, length)))
  }
  expect([...answers]).toEqual(['a miss'])
})

test('bytes under a right checksum that nobody compressed are a miss or a value, never an exception', () => {
  const entity = entityWith(1)
  const payload = compress(Buffer.from('[1,2,3,'.repeat(100))) as Buffer
  const hostile = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map((some) => Buffer.from(some)),
    fc.tuple(fc.nat(payload.length - 1), fc.nat(255)).map(([place, byte]) => {
      const copy = Buffer.from(payload)
      copy[place] = byte
      return copy
    }),
  )
  fc.assert(
    fc.property(hostile, (bad) => {
      const lying = encodeEnvelope({
        snapshot: snapshot('10:10:'),
        createdAtMs: 1_000,
        softExpiryMs: 10_000,
        payload: bad,
        form: 'compressed',
      })
      const answer = read(entity, lying)
      if (answer === 'a miss') return
      expect((answer as { weightBytes: number }).weightBytes).toBeLessThanOrEqual(mostBytes)
    }),
    { numRuns: 2_000 },
  )
})
