/**
 * What a write returns so that a later read, on any instance, cannot miss it (I10): a set of
 * (incarnation, xid). Two tickets are merged by union: the larger xid would not do, because
 * transactions don't finish in the order of their ids.
 *
 * As a string it is `1.` and 16 bytes a write in base64url: 24 characters for one, so that it fits
 * a cookie, a header or a query string.
 */
import { LockstepError } from './errors.ts'
import { type Incarnation, type Snapshot, visible, type WriteId, type Xid } from './snapshot.ts'

declare const brand: unique symbol
export type Ticket = string & { readonly [brand]: 'Ticket' }

const prefix = '1.'
const bytesPerWrite = 16
/** 128 writes are 2,733 characters: a cookie takes 4,096 bytes. */
export const mostWrites = 128

export function formatTicket(writes: readonly WriteId[]): Ticket {
  if (writes.length === 0) {
    throw new LockstepError('TICKET_INVALID', 'a ticket is for at least one write')
  }
  const distinct = new Map(writes.map((write) => [`${write.incarnation}:${write.xid}`, write]))
  if (distinct.size > mostWrites) {
    throw new LockstepError(
      'TICKET_INVALID',
      `a ticket holds at most ${mostWrites} writes, not ${distinct.size}; read with them in turn`,
    )
  }
  const bytes = Buffer.alloc(distinct.size * bytesPerWrite)
  let offset = 0
  for (const { incarnation, xid } of distinct.values()) {
    bytes.write(incarnation, offset, 'hex')
    bytes.writeBigUInt64BE(BigInt(xid), offset + 8)
    offset += bytesPerWrite
  }
  return `${prefix}${bytes.toString('base64url')}` as Ticket
}

/** The writes of a ticket; throws `TICKET_INVALID` for anything that no write returned. */
export function parseTicket(ticket: string): readonly WriteId[] {
  const malformed = (): LockstepError =>
    new LockstepError('TICKET_INVALID', 'this is not a ticket that a write returned')
  if (typeof ticket !== 'string' || !ticket.startsWith(prefix)) throw malformed()
  const text = ticket.slice(prefix.length)
  const bytes = Buffer.from(text, 'base64url')
  const count = bytes.length / bytesPerWrite
  if (!Number.isInteger(count) || count < 1 || count > mostWrites) throw malformed()
  if (bytes.toString('base64url') !== text) throw malformed()
  return Array.from({ length: count }, (_, index) => {
    const offset = index * bytesPerWrite
    const xid = Number(bytes.readBigUInt64BE(offset + 8))
    if (!Number.isSafeInteger(xid)) throw malformed()
    return {
      incarnation: bytes.toString('hex', offset, offset + 8) as Incarnation,
      xid: xid as Xid,
    }
  })
}

/** One ticket for several writes: union. */
export function mergeTickets(...tickets: readonly string[]): Ticket {
  return formatTicket(tickets.flatMap((ticket) => [...parseTicket(ticket)]))
}

/** Does a reader with this snapshot see every write of the ticket? */
export function everyVisible(writes: readonly WriteId[], snapshot: Snapshot): boolean {
  return writes.every((write) => visible(write, snapshot))
}
