import fc from 'fast-check'
import { expect, test } from 'vitest'
import { visible, type WriteId } from '../../src/model/snapshot.ts'
import {
  everyVisible,
  formatTicket,
  mergeTickets,
  mostWrites,
  parseTicket,
} from '../../src/model/ticket.ts'
import { anySnapshot, incarnations, smallXids, snapshots, xids } from '../support/arbitrary.ts'
import { codeThrown } from '../support/code-thrown.ts'

const write: fc.Arbitrary<WriteId> = fc.record({
  incarnation: fc.oneof(incarnations, fc.constantFrom('00000000000000aa', 'ffffffffffffffff')),
  xid: fc.oneof(xids, smallXids),
}) as fc.Arbitrary<WriteId>
const writes = fc.array(write, { minLength: 1, maxLength: 40 })

const textOf = ({ incarnation, xid }: WriteId): string => `${incarnation}:${xid}`
const setOf = (some: readonly WriteId[]): ReadonlySet<string> => new Set(some.map(textOf))

test('a ticket comes back as the set of its writes', () => {
  fc.assert(
    fc.property(writes, (some) => {
      const parsed = parseTicket(formatTicket(some))
      expect(setOf(parsed)).toEqual(setOf(some))
      expect(parsed.length).toBe(setOf(some).size)
    }),
    { numRuns: 300 },
  )
})

test('merging is union: order, repetition and grouping change nothing', () => {
  fc.assert(
    fc.property(writes, writes, writes, (a, b, c) => {
      fc.pre(setOf([...a, ...b, ...c]).size <= mostWrites)
      const [one, two, three] = [formatTicket(a), formatTicket(b), formatTicket(c)]
      const union = setOf([...a, ...b, ...c])
      expect(setOf(parseTicket(mergeTickets(one, two, three)))).toEqual(union)
      expect(setOf(parseTicket(mergeTickets(three, mergeTickets(two, one), one)))).toEqual(union)
    }),
  )
})

test('a merged ticket is satisfied exactly where each of its parts is', () => {
  const small = fc.record({
    incarnation: fc.constantFrom('00000000000000aa', '00000000000000bb'),
    xid: smallXids,
  }) as fc.Arbitrary<WriteId>
  const some = fc.array(small, { minLength: 1, maxLength: 4 })
  const snapshot = snapshots({
    from: 5,
    length: 20,
    incarnation: fc.constant('00000000000000aa' as WriteId['incarnation']),
  })
  fc.assert(
    fc.property(some, some, snapshot, (a, b, at) => {
      const merged = parseTicket(mergeTickets(formatTicket(a), formatTicket(b)))
      expect(everyVisible(merged, at)).toBe([...a, ...b].every((one) => visible(one, at)))
    }),
    { numRuns: 300 },
  )
})

test('a ticket fits a cookie: no character needs quoting, and its length stays below 4,096', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(write, { minLength: 1, maxLength: mostWrites, selector: textOf }),
      (some) => {
        const ticket = formatTicket(some)
        expect(ticket).toMatch(/^1\.[A-Za-z0-9_-]+$/)
        expect(ticket.length).toBeLessThan(4_096)
      },
    ),
  )
})

test('the largest ticket fits a cookie, with its name and attributes', () => {
  const largest = Array.from({ length: mostWrites }, (_, at) => ({
    incarnation: 'ffffffffffffffff',
    xid: Number.MAX_SAFE_INTEGER - at,
  })) as unknown as WriteId[]
  const ticket: string = mergeTickets(...largest.map((one) => formatTicket([one])))
  expect(parseTicket(ticket)).toHaveLength(mostWrites)
  // cookie-octet of RFC 6265; its limit is for name, value and attributes together.
  expect(ticket).toMatch(/^[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]+$/)
  const attributes = '; Max-Age=60; Path=/; Secure; HttpOnly; SameSite=Lax'
  expect(Buffer.byteLength(`ticket=${ticket}${attributes}`)).toBeLessThan(4_096)
})

test('a ticket of one write has 24 characters', () => {
  fc.assert(fc.property(write, (one) => formatTicket([one]).length === 24))
})

test('one write more than a ticket holds is TICKET_INVALID, whether merged or formatted', () => {
  const many = Array.from({ length: mostWrites + 1 }, (_, xid) => ({
    incarnation: 'a1b2c3d4e5f60718',
    xid,
  })) as unknown as WriteId[]
  expect(codeThrown(() => formatTicket(many))).toBe('TICKET_INVALID')
  const [first, ...rest] = many.map((one) => formatTicket([one]))
  expect(codeThrown(() => mergeTickets(first as string, ...rest))).toBe('TICKET_INVALID')
  expect(parseTicket(mergeTickets(...rest)).length).toBe(mostWrites)
})

test('what no write returned is TICKET_INVALID, never another exception', () => {
  const foreign = fc.oneof(
    fc.string(),
    fc.string().map((text) => `1.${text}`),
    fc.base64String().map((text) => `1.${text}`),
    fc
      .uint8Array({ maxLength: 80 })
      .filter(({ length }) => length % 16 !== 0 || length === 0)
      .map((bytes) => `1.${Buffer.from(bytes).toString('base64url')}`),
    fc.constantFrom('', '1', '1.', '2.AAAAAAAAAAAAAAAAAAAAAA', 'undefined', 'null'),
  )
  fc.assert(
    fc.property(foreign, (text) => {
      const code = codeThrown(() => parseTicket(text))
      // By chance it may be one; then it is exactly what would have been returned.
      if (code === undefined) expect(formatTicket(parseTicket(text))).toBe(text)
      else expect(code).toBe('TICKET_INVALID')
    }),
    { numRuns: 1_000 },
  )
})

test('a ticket that a cookie cut short, padded or changed is TICKET_INVALID or other whole writes', () => {
  fc.assert(
    fc.property(
      writes,
      fc.nat(),
      fc.constantFrom('=', ' ', '\n', '+', '/', ';', 'é'),
      (some, at, extra) => {
        const ticket = formatTicket(some)
        const cut = ticket.slice(0, at % ticket.length)
        const code = codeThrown(() => parseTicket(cut))
        if (code === undefined) expect(((cut.length - 2) * 6) % 128).toBeLessThan(6)
        else expect(code).toBe('TICKET_INVALID')
        expect(codeThrown(() => parseTicket(ticket + extra))).toBe('TICKET_INVALID')
        expect(codeThrown(() => parseTicket(extra + ticket))).toBe('TICKET_INVALID')
      },
    ),
    { numRuns: 300 },
  )
})

test('an xid of 2^53 or more in a ticket is TICKET_INVALID, never rounded', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }), (xid) => {
      const bytes = Buffer.alloc(16, 0xab)
      bytes.writeBigUInt64BE(xid, 8)
      expect(codeThrown(() => parseTicket(`1.${bytes.toString('base64url')}`))).toBe(
        'TICKET_INVALID',
      )
    }),
  )
})

test.each([undefined, null, 42, {}, [], Symbol('ticket')])('%s is no ticket', (value) => {
  expect(codeThrown(() => parseTicket(value as unknown as string))).toBe('TICKET_INVALID')
})

test('merging no tickets is refused where the mistake is, not by a later read', () => {
  expect(codeThrown(() => mergeTickets())).toBe('TICKET_INVALID')
})

test('a ticket of any snapshot says nothing about another life of the database', () => {
  fc.assert(
    fc.property(anySnapshot, write, (snapshot, one) => {
      fc.pre(one.incarnation !== snapshot.incarnation)
      expect(everyVisible([one], snapshot)).toBe(false)
    }),
  )
})
