import { crc32 } from 'node:zlib'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  decodeEnvelope,
  type Envelope,
  encodeEnvelope,
  mostXids,
} from '../../src/model/envelope.ts'
import { covers, type Snapshot, type Xid } from '../../src/model/snapshot.ts'
import { anySnapshot, incarnations } from '../support/arbitrary.ts'

const headerBytes = 42
const timeMs = fc.integer({ min: 0, max: 2 ** 48 - 1 })
const payload = fc.option(
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
  { nil: undefined },
)
const form = fc.constantFrom(undefined, 'compressed' as const, 'too-big' as const)
const envelopes = (snapshot: fc.Arbitrary<Snapshot>): fc.Arbitrary<Envelope> =>
  fc.record({ snapshot, createdAtMs: timeMs, softExpiryMs: timeMs, payload, form }).map((one) => ({
    ...one,
    payload: one.form === 'too-big' ? undefined : one.payload,
    form: one.form === 'compressed' && !one.payload ? undefined : one.form,
  }))

/** The own xid as the envelope keeps it: one that is seen anyhow needs no word. */
const withOwn = (snapshot: Snapshot): Snapshot => {
  const { own } = snapshot
  return { ...snapshot, own: own !== undefined && own < snapshot.xmin ? undefined : own }
}

/** Many open transactions, all of them in xip. */
const crowded = fc
  .record({
    incarnation: incarnations,
    xmin: fc.oneof(fc.nat(1_000), fc.integer({ min: 2 ** 50, max: 2 ** 51 })),
    count: fc.integer({ min: mostXids + 1, max: mostXids * 3 }),
    step: fc.integer({ min: 1, max: 3 }),
    own: fc.option(fc.nat(5_000), { nil: undefined }),
  })
  .map(({ incarnation, xmin, count, step, own }): Snapshot => {
    const xip = Array.from({ length: count }, (_, index) => (xmin + index * step) as Xid)
    return {
      incarnation,
      xmin: xmin as Xid,
      xmax: (xmin + count * step) as Xid,
      xip,
      own: own === undefined ? undefined : ((xmin + own) as Xid),
    }
  })

test('an envelope comes back as it was: snapshot, times, form, and payload or its absence', () => {
  fc.assert(
    fc.property(envelopes(anySnapshot), (envelope) => {
      const decoded = decodeEnvelope(encodeEnvelope(envelope))
      expect(decoded).toEqual({ ...envelope, snapshot: withOwn(envelope.snapshot) })
      expect(decoded?.payload === undefined).toBe(envelope.payload === undefined)
    }),
    { numRuns: 500 },
  )
})

test('the decoded snapshot sees exactly what the encoded one saw', () => {
  fc.assert(
    fc.property(envelopes(anySnapshot), (envelope) => {
      const decoded = decodeEnvelope(encodeEnvelope(envelope))?.snapshot as Snapshot
      expect(covers(decoded, envelope.snapshot)).toBe(true)
      expect(covers(envelope.snapshot, decoded)).toBe(true)
    }),
    { numRuns: 300 },
  )
})

test('the header is 42 bytes and 4 per open xid', () => {
  fc.assert(
    fc.property(envelopes(anySnapshot), (envelope) => {
      const { xip, own } = withOwn(envelope.snapshot)
      const xids = xip.length + (own === undefined ? 0 : 1)
      expect(encodeEnvelope(envelope).length).toBe(
        headerBytes + 4 * xids + (envelope.payload?.length ?? 0),
      )
    }),
  )
})

test('a snapshot of more xids than fit is shortened to one that sees less, never more', () => {
  fc.assert(
    fc.property(envelopes(crowded), (envelope) => {
      const bytes = encodeEnvelope(envelope)
      const decoded = decodeEnvelope(bytes)
      const { snapshot } = envelope
      expect(covers(snapshot, decoded?.snapshot as Snapshot)).toBe(true)
      expect(decoded?.snapshot.own).toBe(snapshot.own)
      expect(decoded?.payload).toEqual(envelope.payload)
      expect(bytes.length).toBeLessThan(headerBytes + 8 + 301)
    }),
    { numRuns: 50 },
  )
})

test('as many xids as fit are all kept', () => {
  const xip = Array.from({ length: mostXids }, (_, index) => (7 + 2 * index) as Xid)
  const snapshot = {
    incarnation: 'a1b2c3d4e5f60718' as Snapshot['incarnation'],
    xmin: 7 as Xid,
    xmax: (7 + 2 * mostXids) as Xid,
    xip,
    own: 9_999 as Xid,
  }
  const bytes = encodeEnvelope({ snapshot, createdAtMs: 1, softExpiryMs: 2, payload: undefined })
  expect(decodeEnvelope(bytes)?.snapshot).toEqual(snapshot)
  expect(bytes.length).toBe(headerBytes + 4 * (mostXids + 1))
})

test('xids further apart than 32 bits are shortened to what is surely seen', () => {
  fc.assert(
    fc.property(fc.integer({ min: 2 ** 32, max: 2 ** 40 }), fc.nat(1_000), (distance, xmin) => {
      const snapshot: Snapshot = {
        incarnation: 'a1b2c3d4e5f60718' as Snapshot['incarnation'],
        xmin: xmin as Xid,
        xmax: (xmin + distance) as Xid,
        xip: [xmin as Xid],
        own: (xmin + distance) as Xid,
      }
      const decoded = decodeEnvelope(
        encodeEnvelope({ snapshot, createdAtMs: 0, softExpiryMs: 0, payload: undefined }),
      )
      expect(covers(snapshot, decoded?.snapshot as Snapshot)).toBe(true)
    }),
  )
})

test('times with a fraction, as monotonic clocks have them, are rounded down', () => {
  fc.assert(
    fc.property(anySnapshot, fc.double({ min: 0, max: 2 ** 47, noNaN: true }), (snapshot, ms) => {
      const decoded = decodeEnvelope(
        encodeEnvelope({ snapshot, createdAtMs: ms, softExpiryMs: ms + 0.5, payload: undefined }),
      )
      expect(decoded?.createdAtMs).toBe(Math.floor(ms))
      expect(decoded?.softExpiryMs).toBe(Math.floor(ms + 0.5))
    }),
  )
})

test('a flipped bit is noticed, wherever it is', () => {
  fc.assert(
    fc.property(
      envelopes(anySnapshot),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (one, where) => {
        const bytes = encodeEnvelope(one)
        const bit = Math.min(bytes.length * 8 - 1, Math.floor(where * bytes.length * 8))
        bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7))
        expect(decodeEnvelope(bytes)).toBeUndefined()
      },
    ),
    { numRuns: 1_000 },
  )
})

test('of one envelope every single bit is noticed when it flips', () => {
  const [envelope] = fc.sample(envelopes(anySnapshot), { numRuns: 1, seed: 7 }) as [Envelope]
  const bytes = encodeEnvelope(envelope)
  const noticed = Array.from({ length: bytes.length * 8 }, (_, bit) => {
    const copy = Buffer.from(bytes)
    copy[bit >> 3] = (copy[bit >> 3] as number) ^ (1 << (bit & 7))
    return decodeEnvelope(copy) === undefined
  })
  expect(noticed).not.toContain(false)
})

test('a truncated or lengthened envelope is none', () => {
  fc.assert(
    fc.property(
      envelopes(anySnapshot),
      fc.nat(),
      fc.uint8Array({ minLength: 1 }),
      (one, at, more) => {
        const bytes = encodeEnvelope(one)
        expect(decodeEnvelope(bytes.subarray(0, at % bytes.length))).toBeUndefined()
        expect(decodeEnvelope(Buffer.concat([bytes, more]))).toBeUndefined()
      },
    ),
    { numRuns: 300 },
  )
})

test('arbitrary bytes are no envelope, and no exception', () => {
  const foreign = fc.oneof(
    fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
    // Near misses: the right first byte, and flags that ask for much.
    fc
      .tuple(fc.uint8Array({ minLength: 41, maxLength: 80 }), fc.nat(255))
      .map(([bytes, flags]) => Buffer.from([0x4c, flags, ...bytes])),
    fc.string({ maxLength: 100 }).map((text) => Buffer.from(`L${text}`)),
  )
  fc.assert(
    fc.property(foreign, (bytes) => {
      expect(decodeEnvelope(bytes)).toBeUndefined()
    }),
    { numRuns: 1_000 },
  )
})

test('without a form its bytes are those of before there were forms', () => {
  fc.assert(
    fc.property(envelopes(anySnapshot), (one) => {
      const flags = encodeEnvelope({ ...one, form: undefined })[1] as number
      expect(flags).toBeLessThan(4)
    }),
  )
})

test('flags of which two say what the payload is, or one that nobody knows, are no envelope', () => {
  const [envelope] = fc.sample(envelopes(anySnapshot), { numRuns: 1, seed: 7 }) as [Envelope]
  const readable = Array.from({ length: 256 }, (_, flags) => flags).filter((flags) => {
    const bytes = encodeEnvelope(envelope)
    bytes[1] = flags
    bytes.writeUInt32BE(crc32(bytes.subarray(42), crc32(bytes.subarray(0, 38))), 38)
    return decodeEnvelope(bytes) !== undefined
  })
  expect(readable.filter((flags) => (flags & 2) === 0)).toEqual([0, 1, 4, 8])
  expect(readable.every((flags) => flags < 16)).toBe(true)
})

test('encoding shares no memory with the payload that it was given', () => {
  const [envelope] = fc.sample(envelopes(anySnapshot), { numRuns: 1, seed: 3 }) as [Envelope]
  const original = Buffer.from('what was loaded')
  const bytes = encodeEnvelope({ ...envelope, payload: original })
  original.fill(0)
  expect(decodeEnvelope(bytes)?.payload?.toString()).toBe('what was loaded')
})
