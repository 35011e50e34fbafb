/**
 * What the tail and the relay rely on of the outbox (DESIGN §6), on every implementation: a row is
 * found when its transaction becomes visible, by whoever looks, until it is pruned; and it is
 * pruned only after everybody who kept up has seen it, and everybody it is for was told of it.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  idsPerOutboxRow,
  mostIdsAClaim,
  mostIdsAPoll,
  outboxBatch,
} from '../../src/model/defaults.ts'
import type { OutboxRow } from '../../src/model/outbox-port.ts'
import { covers, formatSnapshot, visible } from '../../src/model/snapshot.ts'
import { gate, until } from '../support/world.ts'
import {
  claimAll,
  idsOf,
  implementations,
  type OutboxPlace,
  open,
  owed,
  writeRows,
} from './outbox-places.ts'
import { never } from './postgres-place.ts'

const withoutL2 = { hasL2: false }

type Step = { readonly act: 'begin' | 'commit' | 'rollback' | 'poll'; readonly which: number }

const steps = fc.array(
  fc.record({
    act: fc.constantFrom<Step['act']>(
      'begin',
      'begin',
      'commit',
      'commit',
      'rollback',
      'poll',
      'poll',
    ),
    which: fc.nat({ max: 5 }),
  }),
  { minLength: 30, maxLength: 60 },
)

describe.each(implementations)('the outbox in %s', (_name, openPlace) => {
  // ---------------------------------------------------------------- what a poll brings

  describe('a poll', () => {
    test('without a snapshot to start from brings no rows, and neither does a probe', async () => {
      const place = await openPlace()
      const start = await place.poll()
      const { write } = await place.write('a')
      const poll = await place.poll()
      expect(poll).toMatchObject({ rows: [], missed: false, isForeign: false })
      const probe = await place.outbox.probe(never)
      for (const { snapshot } of [poll, probe]) {
        expect(visible(write, snapshot)).toBe(true)
        expect(covers(snapshot, start.snapshot)).toBe(true)
      }
      expect(probe.isRelayDue).toBe(true)
    })

    test('brings a row as its writer left it', async () => {
      const place = await openPlace()
      const { snapshot } = await place.poll()
      const { rowIds, write } = await place.write('a', 'b')
      expect((await place.poll(snapshot)).rows).toEqual([
        { rowId: rowIds[0], xid: write.xid, entity: 'thing', ids: ['a', 'b'] },
      ])
    })

    test('says whether some of its rows have no writer that tells of them', async () => {
      const place = await openPlace()
      const start = (await place.poll()).snapshot
      await place.write('own')
      const own = await place.poll(start)
      expect(own).toMatchObject({ isForeign: false })
      await place.writeForeign('foreign')
      const foreign = await place.poll(own.snapshot)
      expect(foreign).toMatchObject({ isForeign: true })
      expect(idsOf(foreign.rows)).toEqual(['foreign'])
      expect(await place.poll(start)).toMatchObject({ isForeign: true })
      expect(await place.poll(foreign.snapshot)).toMatchObject({ rows: [], isForeign: false })
    })

    test('brings every write that its snapshot sees and the one before did not, once', async () => {
      const place = await openPlace(withoutL2)
      const start = await place.poll()
      const { write } = await place.write('a')
      const next = await place.poll(start.snapshot)
      expect(idsOf(next.rows)).toEqual(['a'])
      expect(visible(write, next.snapshot)).toBe(true)
      expect(visible(write, start.snapshot)).toBe(false)
      expect((await place.poll(next.snapshot)).rows).toEqual([])
      // Whoever is still where it was gets it still.
      expect(idsOf((await place.poll(start.snapshot)).rows)).toEqual(['a'])
    })

    test('brings a write that took its id early and committed late', async () => {
      const place = await openPlace(withoutL2)
      const start = await place.poll()
      const early = await open(place, 'early')
      const late = await place.write('late')
      expect(late.write.xid).toBeGreaterThan(early.write.xid)
      const first = await place.poll(start.snapshot)
      expect(idsOf(first.rows)).toEqual(['late'])
      await early.commit()
      const second = await place.poll(first.snapshot)
      expect(idsOf(second.rows)).toEqual(['early'])
      expect((await place.poll(second.snapshot)).rows).toEqual([])
    })

    test('brings a write whose row was made early and whose id lies above all that had ended', async () => {
      const place = await openPlace(withoutL2)
      const alone = await open(place, 'alone')
      // Nothing later has ended: the id is at or above xmax, and not listed as in progress.
      const { snapshot } = await place.poll()
      expect(visible(alone.write, snapshot)).toBe(false)
      await alone.commit()
      expect(idsOf((await place.poll(snapshot)).rows)).toEqual(['alone'])
    })

    test('never brings a write that was rolled back', async () => {
      const place = await openPlace()
      const start = await place.poll()
      const given = await open(place, 'given up')
      await given.rollback()
      expect((await place.poll(start.snapshot)).rows).toEqual([])
      expect(await owed(place)).toEqual([])
    })

    test('brings a write once, whether anybody has been told of it or not', async () => {
      const place = await openPlace()
      const start = await place.poll()
      const told = await place.write('told')
      await place.outbox.mark(told.rowIds, ['l2', 'log'], never)
      await place.write('owed')
      const { rows, snapshot } = await place.poll(start.snapshot)
      expect(idsOf(rows)).toEqual(['owed', 'told'])
      expect((await place.poll(snapshot)).rows).toEqual([])
    })

    test('brings ids of any text as they are', async () => {
      const place = await openPlace()
      const { snapshot } = await place.poll()
      const odd = [
        ' ',
        '"',
        "'",
        '\\',
        ',',
        '{}',
        '{"a"}',
        'NULL',
        'ä💶',
        '\n',
        '__proto__',
        '$1',
        '%s',
      ]
      await place.write(...odd)
      expect((await place.poll(snapshot)).rows[0]?.ids).toEqual(odd)
    })

    test('brings all ids of a write that has too many for one row', async () => {
      const place = await openPlace()
      const { snapshot } = await place.poll()
      const many = Array.from({ length: 2_500 }, (_, index) => `id ${index}`)
      const { rowIds, write } = await place.write(...many)
      expect(rowIds).toHaveLength(3)
      const { rows } = await place.poll(snapshot)
      expect(idsOf(rows)).toEqual(many.toSorted())
      expect(new Set(rows.map(({ xid }) => xid))).toEqual(new Set([write.xid]))
    })
  })

  test('a poll has a bound on its ids: what lies beyond it is missed, and told of as such', async () => {
    const place = await openPlace()
    const ids = (count: number) => Array.from({ length: count }, (_, index) => `id ${index}`)
    const { snapshot } = await place.poll()
    await place.write(...ids(mostIdsAPoll))
    expect(await place.poll(snapshot)).toMatchObject({ missed: false })
    await place.write('one more')
    const late = await place.poll(snapshot)
    expect(late).toMatchObject({ missed: true })
    // The row that reaches the bound is the last, whatever it has.
    const count = idsOf(late.rows).length
    expect(count).toBeGreaterThanOrEqual(mostIdsAPoll)
    expect(count).toBeLessThanOrEqual(mostIdsAPoll + idsPerOutboxRow)
    await place.write('after it')
    expect(await place.poll(late.snapshot)).toMatchObject({ missed: false })
  })

  test('in any order of beginnings, ends and polls, each poll brings exactly what has committed since', async () => {
    const place = await openPlace(withoutL2)
    let round = 0
    await fc.assert(
      fc.asyncProperty(steps, async (steps) => {
        round++
        const open_ = new Map<number, Awaited<ReturnType<typeof open>> & { id: string }>()
        let committed: string[] = []
        let { snapshot } = await place.poll()
        for (const [index, { act, which }] of steps.entries()) {
          const transaction = open_.get(which)
          const id = `${round}.${index}`
          if (act === 'poll') {
            const poll = await place.poll(snapshot)
            expect(idsOf(poll.rows), formatSnapshot(snapshot)).toEqual(committed.toSorted())
            expect(covers(poll.snapshot, snapshot)).toBe(true)
            committed = []
            snapshot = poll.snapshot
          } else if (act === 'begin') {
            if (!transaction) open_.set(which, { ...(await open(place, id)), id })
          } else if (transaction) {
            open_.delete(which)
            await transaction[act]()
            if (act === 'commit') committed.push(transaction.id)
          }
        }
        for (const transaction of open_.values()) await transaction.rollback()
      }),
      { numRuns: 8 },
    )
  })

  // ---------------------------------------------------------------- claims

  describe('a claim', () => {
    test('hands out what is unapplied, and marks what was applied and nothing else', async () => {
      const place = await openPlace()
      const [a, b] = [await place.write('a'), await place.write('b')]
      const applied = await place.outbox.claim(
        'l2',
        0,
        async (claim) => {
          expect(claim.incarnation).toBe(a.write.incarnation)
          expect(claim.versions).toEqual(new Map([['thing', [1]]]))
          expect(claim.rows.map(({ rowId, xid }) => ({ rowId, xid }))).toEqual([
            { rowId: a.rowIds[0], xid: a.write.xid },
            { rowId: b.rowIds[0], xid: b.write.xid },
          ])
          return a.rowIds
        },
        never,
      )
      expect(applied).toBe(1)
      expect(await owed(place)).toEqual(['b'])
    })

    test('leaves young rows to their writer', async () => {
      const place = await openPlace()
      await place.write('a')
      const isGiven = async (minAgeMs: number) =>
        (await place.outbox.claim(
          'l2',
          minAgeMs,
          async ({ rows }) => rows.map(({ rowId }) => rowId),
          never,
        )) > 0
      expect(await isGiven(60_000)).toBe(false)
      await until('the row is old enough', () => isGiven(30))
    })

    test('is never made of a row that somebody else has claimed', async () => {
      const place = await openPlace()
      const other = await place.another()
      await writeRows(place, outboxBatch + 120)
      const held = gate()
      const claimed: string[][] = []
      const take = (hold: () => Promise<void>) => async (claim: { rows: readonly OutboxRow[] }) => {
        const rowIds = claim.rows.map(({ rowId }) => rowId)
        claimed.push(rowIds)
        await hold()
        return rowIds
      }
      const first = place.outbox.claim('l2', 0, take(held.pass), never)
      await held.held
      expect(
        await other.outbox.claim(
          'l2',
          0,
          take(async () => {}),
          never,
        ),
      ).toBe(120)
      expect(
        await other.outbox.claim(
          'l2',
          0,
          take(async () => {}),
          never,
        ),
      ).toBe(0)
      held.open()
      expect(await first).toBe(outboxBatch)
      const all = claimed.flat()
      expect(new Set(all).size).toBe(all.length)
      expect(all).toHaveLength(outboxBatch + 120)
      expect(await owed(place)).toEqual([])
    })

    test('by several at once, again and again, applies every row exactly once', async () => {
      const place = await openPlace()
      const others = [place, await place.another(), await place.another()]
      await writeRows(place, 1_200)
      const claimed: string[] = []
      const drain = async ({ outbox }: OutboxPlace): Promise<void> => {
        const take = async (claim: { rows: readonly OutboxRow[] }) => {
          // What is not returned stays, for the next who asks.
          const rowIds = claim.rows.map(({ rowId }) => rowId).filter((_, index) => index % 3 < 2)
          claimed.push(...rowIds)
          return rowIds.length > 0 ? rowIds : claim.rows.map(({ rowId }) => rowId)
        }
        while ((await outbox.claim('l2', 0, take, never)) > 0);
      }
      await Promise.all(others.map(drain))
      await drain(place)
      expect(new Set(claimed).size).toBe(claimed.length)
      expect(await owed(place)).toEqual([])
    })

    test('whose work fails marks nothing, and its rows are handed out again', async () => {
      const place = await openPlace()
      await place.write('a')
      const fails = place.outbox.claim(
        'l2',
        0,
        () => Promise.reject(new Error('Redis is down')),
        never,
      )
      await expect(fails).rejects.toThrow('Redis is down')
      expect(await claimAll(place)).toEqual(['a'])
    })

    test('goes on after rows that cannot be applied, and comes back to them', async () => {
      const place = await openPlace()
      await writeRows(place, 2 * outboxBatch + 20, 'stuck')
      await place.write('told')
      const claimed: string[] = []
      const turn = () =>
        place.outbox.claim(
          'l2',
          0,
          async ({ rows }) => {
            claimed.push(...idsOf(rows))
            return rows.filter(({ ids }) => ids[0] === 'told').map(({ rowId }) => rowId)
          },
          never,
        )
      expect([await turn(), await turn(), await turn()]).toEqual([0, 0, 1])
      expect(new Set(claimed).size).toBe(2 * outboxBatch + 21)
      claimed.length = 0
      // Somebody writes all the time; the first ones have their turn all the same.
      await place.write('told')
      expect([await turn(), await turn(), await turn()]).toEqual([0, 0, 1])
      expect(new Set(claimed).size).toBe(2 * outboxBatch + 21)
    })

    test('that fails lets the next one go on after its rows', async () => {
      const place = await openPlace()
      await writeRows(place, outboxBatch)
      await place.write('later')
      const fails = place.outbox.claim('l2', 0, () => Promise.reject(new Error('too late')), never)
      await expect(fails).rejects.toThrow('too late')
      expect(await claimAll(place)).toEqual(['later'])
      expect(await claimAll(place)).toHaveLength(outboxBatch)
    })

    test('that applied some goes on after the last of them', async () => {
      const place = await openPlace()
      await writeRows(place, outboxBatch + 2)
      const claimed: (readonly OutboxRow[])[] = []
      const some = async ({ rows }: { rows: readonly OutboxRow[] }) => {
        claimed.push(rows)
        return rows.slice(10, 20).map(({ rowId }) => rowId)
      }
      await place.outbox.claim('l2', 0, some, never)
      await place.outbox.claim('l2', 0, some, never)
      expect(claimed[1]?.[0]).toEqual(claimed[0]?.[20])
    })

    test('has a bound on its ids, and brings a row at least', async () => {
      const place = await openPlace()
      const ids = (count: number) => Array.from({ length: count }, (_, index) => `id ${index}`)
      await place.write(...ids(3 * mostIdsAClaim))
      const counts: number[] = []
      for (let turn = 0; turn < 4; turn++) counts.push((await claimAll(place)).length)
      expect(counts).toEqual([mostIdsAClaim, mostIdsAClaim, mostIdsAClaim, 0])
    })

    test('leaves the rows of transactions that are still open', async () => {
      const place = await openPlace()
      const transaction = await open(place, 'open')
      expect(await claimAll(place)).toEqual([])
      await transaction.commit()
      expect(await claimAll(place)).toEqual(['open'])
    })
  })

  // ---------------------------------------------------------------- destinations

  describe('of several destinations', () => {
    test('each is told of each row by itself', async () => {
      const place = await openPlace({ hasLog: true })
      const [a, b, c] = [await place.write('a'), await place.write('b'), await place.write('c')]
      await place.outbox.mark(a.rowIds, ['l2'], never)
      await place.outbox.mark(b.rowIds, ['log'], never)
      await place.outbox.mark(c.rowIds, ['l2', 'log'], never)
      expect(await owed(place, 'l2')).toEqual(['b'])
      expect(await owed(place, 'log')).toEqual(['a'])
      // What was marked stays so, whatever is marked later.
      await place.outbox.mark(a.rowIds, ['log'], never)
      await place.outbox.mark(b.rowIds, ['l2'], never)
      for (const name of ['l2', 'log'] as const) expect(await owed(place, name)).toEqual([])
    })

    test('a claim for one marks nothing for the other, and its place is its own', async () => {
      const place = await openPlace({ hasLog: true })
      await writeRows(place, outboxBatch + 1)
      expect(await claimAll(place, 'log')).toHaveLength(outboxBatch)
      expect(await owed(place, 'l2')).toHaveLength(outboxBatch)
      expect(await claimAll(place, 'log')).toHaveLength(1)
      expect(await owed(place, 'log')).toEqual([])
      // It goes on after the rows that it could not be told of.
      expect(await owed(place, 'l2')).toHaveLength(1)
    })

    test('without a log, what L2 was told of is published', async () => {
      const place = await openPlace()
      const { rowIds } = await place.write('marked')
      await place.write('claimed')
      await place.outbox.mark(rowIds, ['l2'], never)
      expect(await claimAll(place, 'l2')).toEqual(['claimed'])
      expect(await owed(place, 'log')).toEqual([])
    })
  })

  test('a mark of rows that are not there marks nothing else', async () => {
    const place = await openPlace()
    await place.write('a')
    await place.outbox.mark(['9007199254740991', '0'], ['l2'], never)
    await place.outbox.mark([], ['l2'], never)
    expect(await owed(place)).toEqual(['a'])
  })

  // ---------------------------------------------------------------- pruning

  describe('pruning', () => {
    test('removes a row only after it was visible in a snapshot one retention old', async () => {
      const place = await openPlace(withoutL2)
      await place.outbox.prune(0, never)
      const { write } = await place.write('a')
      // What this moves to is older than the row.
      expect(await place.outbox.prune(0, never)).toBe(0)
      expect(visible(write, (await place.poll()).pruned)).toBe(false)
      expect(await place.outbox.prune(0, never)).toBe(1)
      expect(visible(write, (await place.poll()).pruned)).toBe(true)
    })

    test('keeps everything for one retention', async () => {
      const place = await openPlace(withoutL2)
      const start = await place.poll()
      await place.write('a')
      for (let turn = 0; turn < 5; turn++) expect(await place.outbox.prune(60_000, never)).toBe(0)
      expect(idsOf((await place.poll(start.snapshot)).rows)).toEqual(['a'])
    })

    test('keeps the row of a long transaction, which is old when it appears', async () => {
      const place = await openPlace(withoutL2)
      const long = await open(place, 'long')
      for (let turn = 0; turn < 4; turn++) await place.outbox.prune(0, never)
      const { snapshot } = await place.poll()
      await long.commit()
      expect(await place.outbox.prune(0, never)).toBe(0)
      expect(idsOf((await place.poll(snapshot)).rows)).toEqual(['long'])
      expect(await place.outbox.prune(0, never)).toBe(1)
    })

    test('never removes what L2 has not been told of, or not once more', async () => {
      const place = await openPlace()
      const { snapshot } = await place.poll()
      const { rowIds } = await place.write('a')
      const stays = async () => {
        for (let turn = 0; turn < 4; turn++) expect(await place.outbox.prune(0, never)).toBe(0)
        expect(idsOf((await place.poll(snapshot)).rows)).toEqual(['a'])
      }
      await place.outbox.repeated((await place.poll()).snapshot, never)
      await stays()
      await place.outbox.repeated(snapshot, never)
      await place.outbox.mark(rowIds, ['l2'], never)
      await stays()
      await place.outbox.repeated((await place.poll()).snapshot, never)
      expect(await place.outbox.prune(0, never)).toBe(1)
    })

    test('never removes what the log has not been told of, and without L2 waits for nothing else', async () => {
      const place = await openPlace({ hasL2: false, hasLog: true })
      const { snapshot } = await place.poll()
      const { rowIds } = await place.write('a')
      await place.outbox.mark(rowIds, ['l2'], never)
      for (let turn = 0; turn < 4; turn++) expect(await place.outbox.prune(0, never)).toBe(0)
      expect(idsOf((await place.poll(snapshot)).rows)).toEqual(['a'])
      await place.outbox.mark(rowIds, ['log'], never)
      expect(await place.outbox.prune(0, never)).toBe(1)
    })

    test('with both waits for each', async () => {
      const place = await openPlace({ hasLog: true })
      const all = await Promise.all(['a', 'b', 'c'].map((id) => place.write(id)))
      await place.outbox.repeated((await place.poll()).snapshot, never)
      const [l2, log, both] = all.map(({ rowIds }) => rowIds)
      await place.outbox.mark([...(l2 ?? []), ...(both ?? [])], ['l2'], never)
      await place.outbox.mark([...(log ?? []), ...(both ?? [])], ['log'], never)
      let removed = 0
      for (let turn = 0; turn < 4; turn++) removed += await place.outbox.prune(0, never)
      expect(removed).toBe(1)
      expect([await owed(place, 'l2'), await owed(place, 'log')]).toEqual([['b'], ['a']])
    })

    test('keeps a row that was not visible yet when all that was visible was repeated', async () => {
      const place = await openPlace()
      const long = await open(place, 'long')
      const beside = await place.write('beside')
      await place.outbox.repeated((await place.poll()).snapshot, never)
      await long.commit()
      await place.outbox.mark([...long.rowIds, ...beside.rowIds], ['l2'], never)
      let removed = 0
      for (let turn = 0; turn < 4; turn++) removed += await place.outbox.prune(0, never)
      expect(removed).toBe(1)
      await place.outbox.repeated((await place.poll()).snapshot, never)
      expect(await place.outbox.prune(0, never)).toBe(1)
    })

    test('tells who slept longer of the gap, and nobody else', async () => {
      const place = await openPlace(withoutL2)
      const asleep = (await place.poll()).snapshot
      await place.write('a')
      const awake = (await place.poll()).snapshot
      await until('the row is pruned', async () => (await place.outbox.prune(0, never)) === 1)
      const { pruned } = await place.poll()
      expect(covers(asleep, pruned)).toBe(false)
      await until('what is pruned sees more than it did', async () => {
        await place.outbox.prune(0, never)
        return covers((await place.poll()).pruned, awake)
      })
      const kept = (await place.poll()).snapshot
      expect(covers(kept, (await place.poll()).pruned)).toBe(true)
    })
  })
})
