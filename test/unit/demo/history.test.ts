import fc from 'fast-check'
import { expect, test } from 'vitest'
import { HistoryWriter, type Operation, readChunk } from '../../../src/demo/history.ts'

const times = fc
  .tuple(fc.nat(2 ** 40), fc.nat(2 ** 32 - 1))
  .map(([startNs, durationNs]) => ({ startNs, endNs: startNs + durationNs }))
const row = fc.record({ id: fc.nat(2 ** 32 - 1), version: fc.nat(2 ** 32 - 1) })
const write = fc
  .tuple(row, times, fc.boolean())
  .map(([one, time, fenced]): Operation => ({ kind: 'write', ...one, ...time, fenced }))
const read = fc
  .tuple(
    row,
    times,
    fc.constantFrom('bounded' as const, 'strong' as const),
    fc.nat(2 ** 32 - 1),
    fc.constantFrom(undefined, 'l1' as const, 'l2' as const, 'source' as const),
    fc.boolean(),
  )
  .map(
    ([one, time, consistency, ticketVersion, tier, isProven]): Operation => ({
      kind: 'read',
      ...one,
      ...time,
      consistency,
      ticketVersion,
      tier,
      isProven,
    }),
  )

function throughChunks(operations: readonly Operation[]): { read: Operation[]; chunks: number } {
  const chunks: Uint8Array[] = []
  const history = new HistoryWriter((chunk) => chunks.push(chunk))
  for (const operation of operations) history.add(operation)
  history.flush()
  return { read: chunks.flatMap((chunk) => [...readChunk(chunk)]), chunks: chunks.length }
}

test('what was added is what is read', () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(write, read)), (operations) => {
      expect(throughChunks(operations).read).toEqual(operations)
    }),
  )
})

test('a full chunk leaves at once, so that memory is bounded', () => {
  const one = { kind: 'write', id: 1, version: 1, startNs: 0, endNs: 1, fenced: true } as const
  const operations = Array.from({ length: 4_001 }, (_, id) => ({ ...one, id }))
  expect(throughChunks(operations)).toEqual({ read: operations, chunks: 3 })
})

test('without anything to tell there is no chunk', () => {
  expect(throughChunks([])).toEqual({ read: [], chunks: 0 })
})

test('a duration that is too long to be kept is kept as the longest, and the start is right', () => {
  const slow = { kind: 'write', id: 1, version: 1, startNs: 5, endNs: 1e10, fenced: true } as const
  expect(throughChunks([slow]).read).toEqual([{ ...slow, endNs: 5 + 2 ** 32 - 1 }])
})
