/** What a write is known by: incarnation, xid, ticket (DESIGN §1 I10, “Incarnation”). */

import type { Incarnation, WriteId } from '../../../src/model/snapshot.ts'
import type { Source } from '../../../src/model/source-port.ts'
import { formatTicket, parseTicket } from '../../../src/model/ticket.ts'
import type { Parts } from '../../../src/running-cache.ts'
import type { MemoryTx } from '../../../src/testing/memory-source.ts'
import { type Mutant, noTrouble, quiet, rough } from './mutant.ts'

const busy = { ...quiet, ids: 2, delaysMs: rough }

export const xidMutants: readonly Mutant[] = [
  {
    name: 'no incarnation',
    what: 'snapshots, xids, tombstones and tickets do not say which life of the database they are of',
    breaks: ['I1', 'I3', 'I4', 'I10'],
    where: { ...busy, weights: { ...noTrouble, 'crash PostgreSQL': 6, 'idle transaction': 8 } },
    mutation: {
      database: (database) => {
        const only = database.incarnation
        Object.defineProperty(database, 'incarnation', { get: (): Incarnation => only })
      },
    },
  },
  {
    name: 'no xid of its own',
    what: 'an invalidation without a transaction takes the xmax of a snapshot for its xid',
    breaks: ['I1', 'I3', 'I4', 'I5'],
    where: {
      ...busy,
      weights: {
        ...noTrouble,
        invalidate: 40,
        write: 6,
        'foreign write': 0,
        'idle transaction': 6,
      },
    },
    mutation: {
      parts: (parts, { world }) => {
        const source = parts.source as unknown as Source<MemoryTx>
        return {
          ...parts,
          source: {
            ...source,
            begin: async (signal) => {
              const transaction = await source.begin(signal)
              let hasWritten = false
              return {
                ...transaction,
                handle: {
                  ...transaction.handle,
                  put: (...row) => {
                    hasWritten = true
                    return transaction.handle.put(...row)
                  },
                },
                record: async (keys) => {
                  const recorded = await transaction.record(keys)
                  if (hasWritten) return recorded
                  const write: WriteId = { ...recorded.write, xid: world.database.snapshot().xmax }
                  return { ...recorded, write }
                },
              }
            },
          } satisfies Source<MemoryTx> as unknown as Parts['source'],
        }
      },
    },
  },
  {
    name: 'tickets merged by maximum',
    what: 'of two tickets the larger xid is kept',
    breaks: ['I10'],
    where: { ...busy, ids: 1, hasL2: false, ttl: '10m', weights: noTrouble },
    mutation: {
      mergeTickets: (...tickets) => {
        const writes = tickets.flatMap((ticket) => [...parseTicket(ticket)])
        const [largest] = writes.toSorted((a, b) => b.xid - a.xid)
        return formatTicket([largest as WriteId])
      },
    },
  },
]
