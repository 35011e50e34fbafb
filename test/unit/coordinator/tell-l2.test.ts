import { expect, test } from 'vitest'
import { tellL2 } from '../../../src/coordinator/tell-l2.ts'
import { idsInFlight } from '../../../src/model/defaults.ts'
import type { Drop, Dropped, L2 } from '../../../src/model/l2-port.ts'
import type { Claim, OutboxRow } from '../../../src/model/outbox-port.ts'
import type { WriteId, Xid } from '../../../src/model/snapshot.ts'
import { incarnationA } from '../../support/arbitrary.ts'

const row = (rowId: string, xid: number, ids: readonly string[]): OutboxRow => ({
  rowId,
  xid: xid as Xid,
  entity: 'city',
  ids,
})
const claimOf = (rows: readonly OutboxRow[], versions: readonly number[] = []): Claim => ({
  incarnation: incarnationA,
  rows,
  versions: new Map([['city', versions]]),
})
const dropped = (values = 0): Dropped => ({ kind: 'dropped', nonces: [], values })
const goesOn = { isOver: () => false }

function l2With(
  invalidate: (write: WriteId, drops: readonly Drop[]) => Dropped | Promise<Dropped>,
) {
  const told: { write: WriteId; drops: readonly Drop[]; quiet: boolean | undefined }[] = []
  const l2 = {
    invalidate: async (write: WriteId, drops: readonly Drop[], options?: { quiet?: boolean }) => {
      told.push({ write, drops, quiet: options?.quiet })
      return invalidate(write, drops)
    },
  } as unknown as L2
  return { told, l2 }
}

test('L2 is told of each row under its xid, in all schema versions', async () => {
  const { told, l2 } = l2With(() => dropped(2))
  const claim = claimOf([row('1', 7, ['42', 'x']), row('2', 8, ['43'])], [1, 2])
  expect(await tellL2(l2, claim, goesOn)).toEqual({ rowIds: ['1', '2'], values: 4 })
  expect(told).toEqual([
    {
      write: { incarnation: incarnationA, xid: 7 },
      drops: [
        { entity: 'city', id: '42', versions: [1, 2] },
        { entity: 'city', id: 'x', versions: [1, 2] },
      ],
      quiet: false,
    },
    {
      write: { incarnation: incarnationA, xid: 8 },
      drops: [{ entity: 'city', id: '43', versions: [1, 2] }],
      quiet: false,
    },
  ])
})

test('what everybody has heard of is told to L2 alone', async () => {
  const { told, l2 } = l2With(() => dropped())
  await tellL2(l2, claimOf([row('1', 7, ['42'])]), { ...goesOn, quiet: true })
  expect(told.map(({ quiet }) => quiet)).toEqual([true])
})

test('a row that L2 could not be told of is not among those that it was', async () => {
  const { l2 } = l2With(({ xid }) =>
    xid === 7 ? { kind: 'unavailable', cause: 'down' } : dropped(1),
  )
  const told = await tellL2(l2, claimOf([row('1', 7, ['42']), row('2', 8, ['43'])]), goesOn)
  expect(told).toEqual({ rowIds: ['2'], values: 1 })
})

test('L2 is told of a bounded number of ids at a time, one row after the other', async () => {
  const ids = (count: number) => Array.from({ length: count }, (_, index) => String(index))
  const rows = [[], ids(1_000), ids(1_000), ids(10), ids(100), ids(200), ids(idsInFlight)]
  const inFlight: number[] = []
  let now = 0
  const { l2 } = l2With(async (_, drops) => {
    now += drops.length
    inFlight.push(now)
    await new Promise((resolve) => setImmediate(resolve))
    now -= drops.length
    return dropped()
  })
  const claim = claimOf(rows.map((some, index) => row(String(index), index + 1, some)))
  const { rowIds } = await tellL2(l2, claim, goesOn)
  expect(inFlight).toEqual([1_000, 1_000, 10, 110, 200, idsInFlight])
  expect(rowIds).toEqual(rows.map((_, index) => String(index)))
})

test('when it is over no more is begun, and what was told counts', async () => {
  const ids = Array.from({ length: idsInFlight }, String)
  const { l2, told } = l2With(() => dropped())
  const claim = claimOf(
    Array.from({ length: 50 }, (_, index) => row(String(index), index + 1, ids)),
  )
  const { rowIds } = await tellL2(l2, claim, { isOver: () => told.length === 6 })
  expect(rowIds).toEqual(['0', '1', '2', '3', '4', '5'])
})

test('a row of very many ids is told of in rounds; given up in between, it is not told, and the others are', async () => {
  const many = Array.from({ length: 5_000 }, (_, index) => String(index))
  const claim = claimOf([row('1', 7, ['42']), row('2', 8, many)])
  const whole = l2With(() => dropped(1))
  expect(await tellL2(whole.l2, claim, goesOn)).toEqual({ rowIds: ['1', '2'], values: 4 })
  expect(whole.told.slice(1).flatMap(({ drops }) => drops.map(({ id }) => id))).toEqual(many)
  const cut = l2With(() => dropped(1))
  const isOver = (): boolean => cut.told.length === 3
  expect(await tellL2(cut.l2, claim, { isOver })).toEqual({ rowIds: ['1'], values: 1 })
})
