import { afterEach, expect, test } from 'vitest'
import { Janitor } from '../../../src/coordinator/janitor.ts'
import type { Tail } from '../../../src/coordinator/tail.ts'
import { idsInFlight } from '../../../src/model/defaults.ts'
import { silent } from '../../../src/model/log.ts'
import type { Claim, Drop, L2, Outbox } from '../../../src/model/ports.ts'
import type { WriteId, Xid } from '../../../src/model/snapshot.ts'
import { incarnationA } from '../../support/arbitrary.ts'
import { VirtualClock, watch } from '../../support/clock.ts'

const intervalMs = 250
const minAgeMs = 500
const retentionMs = 60_000
const deadlineMs = 3_000

let close: (() => Promise<void>) | undefined
afterEach(async () => {
  await close?.()
  close = undefined
})

interface Options {
  readonly claim?: (apply: (claim: Claim) => Promise<readonly string[]>) => Promise<number>
  readonly prune?: () => Promise<number>
  readonly invalidate?: L2['invalidate']
  readonly hasL2?: boolean
}

function setUp(options: Options = {}) {
  const clock = new VirtualClock()
  const told: { write: WriteId; drops: readonly Drop[] }[] = []
  const claims: number[] = []
  const prunes: number[] = []
  const tail = { unapplied: 0 }
  const outbox = {
    claim: (ageMs: number, apply: (claim: Claim) => Promise<readonly string[]>) => {
      claims.push(ageMs)
      return options.claim?.(apply) ?? Promise.resolve(0)
    },
    prune: (ms: number) => {
      prunes.push(ms)
      return options.prune?.() ?? Promise.resolve(0)
    },
  }
  const l2 = {
    invalidate: (write: WriteId, drops: readonly Drop[]) => {
      told.push({ write, drops })
      return options.invalidate?.(write, drops) ?? Promise.resolve({ kind: 'dropped', nonces: [] })
    },
  }
  const janitor = new Janitor({
    outbox: outbox as unknown as Outbox,
    l2: options.hasL2 === false ? undefined : (l2 as unknown as L2),
    tail: tail as unknown as Tail,
    clock,
    log: silent,
    intervalMs,
    minAgeMs,
    retentionMs,
    deadlineMs,
  })
  janitor.start()
  close = async () => {
    const closed = janitor.close()
    await clock.settle()
    await closed
  }
  return { clock, told, claims, prunes, tail, janitor }
}

const row = (rowId: string, xid: number, ids: readonly string[]) => ({
  rowId,
  xid: xid as Xid,
  entity: 'city',
  ids,
  applied: false,
})

test('rows are claimed only when the tail saw some that L2 was not told of', async () => {
  const { clock, claims, tail } = setUp()
  await clock.advance(3 * intervalMs)
  expect(claims).toEqual([])
  tail.unapplied = 3
  await clock.advance(intervalMs)
  expect(claims).toEqual([minAgeMs])
})

test('L2 is told of each claimed row under its xid, in all schema versions, and those are marked', async () => {
  const marked: (readonly string[])[] = []
  const claim: Claim = {
    incarnation: incarnationA,
    rows: [row('1', 7, ['42', 'x']), row('2', 8, ['43'])],
    versions: new Map([['city', [1, 2]]]),
  }
  const { clock, told, tail } = setUp({
    claim: async (apply) => marked.push(await apply(claim)),
  })
  tail.unapplied = 2
  await clock.advance(intervalMs)
  expect(told).toEqual([
    {
      write: { incarnation: incarnationA, xid: 7 },
      drops: [
        { entity: 'city', id: '42', versions: [1, 2] },
        { entity: 'city', id: 'x', versions: [1, 2] },
      ],
    },
    {
      write: { incarnation: incarnationA, xid: 8 },
      drops: [{ entity: 'city', id: '43', versions: [1, 2] }],
    },
  ])
  expect(marked).toEqual([['1', '2']])
})

test('a row that L2 could not be told of is not marked', async () => {
  const marked: (readonly string[])[] = []
  const claim: Claim = {
    incarnation: incarnationA,
    rows: [row('1', 7, ['42']), row('2', 8, ['43'])],
    versions: new Map(),
  }
  const { clock, tail } = setUp({
    claim: async (apply) => marked.push(await apply(claim)),
    invalidate: async ({ xid }) =>
      xid === 7 ? { kind: 'unavailable', cause: 'down' } : { kind: 'dropped', nonces: [] },
  })
  tail.unapplied = 2
  await clock.advance(intervalMs)
  expect(marked).toEqual([['2']])
})

test('L2 is told of a bounded number of ids at a time, one row after the other', async () => {
  const ids = (count: number) => Array.from({ length: count }, (_, index) => String(index))
  const rows = [[], ids(1_000), ids(1_000), ids(10), ids(100), ids(200), ids(idsInFlight)]
  const marked: (readonly string[])[] = []
  const inFlight: number[] = []
  let now = 0
  const { clock, tail } = setUp({
    claim: async (apply) =>
      marked.push(
        await apply({
          incarnation: incarnationA,
          rows: rows.map((some, index) => row(String(index), index + 1, some)),
          versions: new Map(),
        }),
      ),
    invalidate: async (_, drops) => {
      now += drops.length
      inFlight.push(now)
      await new Promise<void>((resolve) => clock.after(5, resolve))
      now -= drops.length
      return { kind: 'dropped', nonces: [] }
    },
  })
  tail.unapplied = rows.length
  await clock.advance(intervalMs + 100)
  expect(inFlight).toEqual([0, 1_000, 1_000, 10, 110, 200, idsInFlight])
  expect(marked).toEqual([rows.map((_, index) => String(index))])
})

test('a claim that L2 takes long for marks what it was told of, well before the deadline', async () => {
  const marked: (readonly string[])[] = []
  const { clock, tail } = setUp({
    claim: async (apply) =>
      marked.push(
        await apply({
          incarnation: incarnationA,
          rows: Array.from({ length: 50 }, (_, index) =>
            row(String(index), index + 1, Array.from({ length: idsInFlight }, String)),
          ),
          versions: new Map(),
        }),
      ),
    invalidate: async () => {
      await new Promise<void>((resolve) => clock.after(deadlineMs / 10, resolve))
      return { kind: 'dropped', nonces: [] }
    },
  })
  tail.unapplied = 50
  await clock.advance(intervalMs + 0.9 * deadlineMs)
  expect(marked).toEqual([['0', '1', '2', '3', '4', '5']])
})

test('without L2 nothing is claimed', async () => {
  const { clock, claims, tail } = setUp({ hasL2: false })
  tail.unapplied = 3
  await clock.advance(3 * intervalMs)
  expect(claims).toEqual([])
})

test('rows are removed ten times a retention', async () => {
  const { clock, prunes } = setUp()
  await clock.advance(retentionMs)
  expect(prunes.length).toBeGreaterThanOrEqual(9)
  expect(prunes.length).toBeLessThanOrEqual(11)
  expect(new Set(prunes)).toEqual(new Set([retentionMs]))
})

test('an outbox that fails is asked again an interval later', async () => {
  const { clock, claims, tail } = setUp({ claim: () => Promise.reject(new Error('down')) })
  tail.unapplied = 1
  await clock.advance(4 * intervalMs)
  expect(claims.length).toBe(4)
})

test('an outbox that hangs is given up at the deadline, and asked again', async () => {
  const { clock, claims, tail } = setUp({ claim: () => new Promise(() => {}) })
  tail.unapplied = 1
  await clock.advance(2 * (deadlineMs + intervalMs))
  expect(claims.length).toBe(2)
})

test('rows are removed though rows can not be claimed: the outbox stays bounded', async () => {
  const { clock, prunes, tail } = setUp({ claim: () => Promise.reject(new Error('locked')) })
  tail.unapplied = 1
  await clock.advance(retentionMs)
  expect(prunes.length).toBeGreaterThan(0)
})

test('a close ends what is under way, and leaves no timer', async () => {
  const { clock, janitor, tail } = setUp({ claim: () => new Promise(() => {}) })
  tail.unapplied = 1
  await clock.advance(intervalMs)
  const closed = watch(janitor.close())
  await clock.settle()
  expect([closed.state, clock.timers]).toEqual(['resolved', 0])
})
