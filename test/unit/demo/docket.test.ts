import { expect, test } from 'vitest'
import { Docket } from '../../../src/demo/docket.ts'
import { HistoryWriter, type Operation } from '../../../src/demo/history.ts'

function chunkOf(...operations: readonly Operation[]): Uint8Array {
  const chunks: Uint8Array[] = []
  const history = new HistoryWriter((chunk) => chunks.push(chunk))
  for (const operation of operations) history.add(operation)
  history.flush()
  return chunks[0] ?? new Uint8Array(0)
}

const write: Operation = { kind: 'write', id: 1, version: 2, startNs: 0, endNs: 10, fenced: true }
const staleRead: Operation = {
  kind: 'read',
  id: 1,
  version: 1,
  startNs: 20,
  endNs: 30,
  consistency: 'strong',
  ticketVersion: 0,
  tier: 'l2',
  isProven: true,
}

test('a read waits until every process has told what it did before', () => {
  const docket = new Docket(2, 1_000)
  docket.add(0, chunkOf(staleRead), 40)
  expect(docket.verdict.staleStrong).toBe(0)
  docket.add(1, chunkOf(write), 15)
  expect(docket.verdict.staleStrong).toBe(0)
  docket.add(1, chunkOf(), 40)
  expect(docket.verdict).toMatchObject({ staleStrong: 1, crossProcessChecks: 1 })
})

test('the last word of each process settles everything', () => {
  const docket = new Docket(3, 1_000)
  docket.add(0, chunkOf(staleRead), 40)
  docket.add(1, chunkOf(write), 40)
  for (const process of [0, 1, 2]) docket.add(process, chunkOf(), Number.POSITIVE_INFINITY)
  expect(docket.verdict.staleStrong).toBe(1)
})

test('counts what was done, and how long each tier took', () => {
  const docket = new Docket(1, 1_000)
  const bounded = { ...staleRead, consistency: 'bounded', ticketVersion: 1 } as const
  docket.add(0, chunkOf(write, { ...write, fenced: false }, staleRead, bounded), 40)
  expect(docket.counts).toEqual({
    foreignWrites: 0,
    reads: 2,
    strongReads: 1,
    ticketedReads: 1,
    writes: 2,
    unfencedWrites: 1,
  })
  expect(docket.latency.l2.count).toBe(2)
  expect(docket.latency.l1.count).toBe(0)
})
