/**
 * What whoever relays relies on of the outbox (DESIGN §6), on every implementation: one holder at a
 * time, how far each destination is, and all rows between two snapshots, page by page.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  idsPerOutboxRow,
  mostIdsAClaim,
  mostOwedCounted,
  outboxBatch,
} from '../../src/model/defaults.ts'
import { covers, type Incarnation, type Snapshot } from '../../src/model/snapshot.ts'
import { until } from '../support/world.ts'
import {
  allPages,
  claimAll,
  idsOf,
  implementations,
  type OutboxPlace,
  open,
  owed,
  progress,
  writeRows,
} from './outbox-places.ts'
import { never } from './postgres-place.ts'

const lead = ({ outbox }: OutboxPlace, instance: string): Promise<boolean> =>
  outbox.lead(instance, never)

/** Has each of them been told of all that `asked` sees? */
async function isTold(place: OutboxPlace, asked: Snapshot) {
  const { l2, log } = (await progress(place, { l2: asked, log: asked })).owed
  return { l2: l2.isTold, log: log.isTold }
}

const snapshotOf = async (place: OutboxPlace): Promise<Snapshot> => (await place.poll()).snapshot

describe.each(implementations)('the outbox in %s', (_name, openPlace) => {
  // ---------------------------------------------------------------- who relays

  describe('the relay', () => {
    test('is one instance, however often it is asked, and no other meanwhile', async () => {
      const place = await openPlace()
      const other = await place.another()
      expect(await lead(place, 'one')).toBe(true)
      expect(await lead(other, 'other')).toBe(false)
      expect(await lead(place, 'one')).toBe(true)
      expect(await lead(other, 'other')).toBe(false)
    })

    test('is another one when it resigns, and then it is none', async () => {
      const place = await openPlace()
      const other = await place.another()
      expect(await lead(place, 'one')).toBe(true)
      // Who doesn't relay has nothing to resign.
      other.outbox.resign('other')
      expect(await lead(other, 'other')).toBe(false)
      place.outbox.resign('one')
      await until('the other one relays', () => lead(other, 'other'))
      expect(await lead(place, 'one')).toBe(false)
    })

    test('is one of many that ask at once', async () => {
      const place = await openPlace()
      const places = [place, ...(await Promise.all([1, 2, 3].map(() => place.another())))]
      const answers = await Promise.all(places.map((one, index) => lead(one, `instance ${index}`)))
      expect(answers.filter(Boolean)).toHaveLength(1)
    })

    test('is due while nobody is it, as polls and probes say', async () => {
      const place = await openPlace()
      const isDue = async () => {
        const both = [await place.poll(), await place.outbox.probe(never)]
        return both.map(({ isRelayDue }) => isRelayDue)
      }
      expect(await isDue()).toEqual([true, true])
      await lead(place, 'one')
      expect(await isDue()).toEqual([false, false])
      place.outbox.resign('one')
      await until('it is due again', async () => (await isDue())[0] === true)
    })
  })

  // ---------------------------------------------------------------- how far it is

  describe('progress', () => {
    test('counts what each destination has not been told of, and how old it is', async () => {
      const place = await openPlace({ hasLog: true })
      const none = { rows: 0, oldestMs: 0 }
      expect((await progress(place)).owed).toMatchObject({ l2: none, log: none })
      const a = await place.write('a')
      const b = await place.write('b')
      await place.outbox.mark(a.rowIds, ['l2'], never)
      expect((await progress(place)).owed).toMatchObject({ l2: { rows: 1 }, log: { rows: 2 } })
      await until('the rows are old', async () => (await progress(place)).owed.log.oldestMs > 30)
      await place.outbox.mark([...a.rowIds, ...b.rowIds], ['log'], never)
      await place.write('young')
      const { l2, log } = (await progress(place)).owed
      expect(l2.oldestMs).toBeGreaterThan(log.oldestMs)
      await place.outbox.mark(b.rowIds, ['l2'], never)
      await claimAll(place, 'l2')
      await claimAll(place, 'log')
      expect((await progress(place)).owed).toMatchObject({ l2: none, log: none })
    })

    test.each([
      ['a log', { hasLog: false }, { l2: false, log: true }],
      ['L2', { hasL2: false, hasLog: true }, { l2: true, log: false }],
    ])('without %s, owes it nothing', async (_what, options, told) => {
      const place = await openPlace(options)
      await place.write('a')
      const { l2, log } = (await progress(place)).owed
      expect({ l2: l2.rows, log: log.rows }).toEqual({ l2: told.l2 ? 0 : 1, log: told.log ? 0 : 1 })
      expect(await isTold(place, await snapshotOf(place))).toEqual(told)
    })

    test('says of each destination whether it has been told of all that a snapshot sees', async () => {
      const place = await openPlace({ hasLog: true })
      const before = await snapshotOf(place)
      const { rowIds } = await place.write('a')
      const after = await snapshotOf(place)
      expect(await isTold(place, before)).toEqual({ l2: true, log: true })
      expect(await isTold(place, after)).toEqual({ l2: false, log: false })
      await place.outbox.mark(rowIds, ['log'], never)
      expect(await isTold(place, after)).toEqual({ l2: false, log: true })
      await place.outbox.mark(rowIds, ['l2'], never)
      expect(await isTold(place, after)).toEqual({ l2: true, log: true })
      // Who writes all the time delays nobody.
      await place.write('b')
      expect(await isTold(place, after)).toEqual({ l2: true, log: true })
    })

    test('knows nothing of a snapshot that it was not asked about', async () => {
      const place = await openPlace()
      const { l2, log } = (await progress(place, { l2: await snapshotOf(place) })).owed
      expect([l2.isTold, log.isTold]).toEqual([true, false])
    })

    test('comes with a snapshot that sees what was counted', async () => {
      const place = await openPlace()
      const late = await open(place, 'late')
      const { snapshot, owed: first } = await progress(place)
      expect(first.l2.rows).toBe(0)
      await late.commit()
      // It saw no row, and not the write either: so it is told of when the late row has come.
      expect(await isTold(place, snapshot)).toMatchObject({ l2: true })
      const next = await progress(place)
      expect(next.owed.l2.rows).toBe(1)
      expect(await isTold(place, next.snapshot)).toMatchObject({ l2: false })
      expect(covers(next.snapshot, snapshot)).toBe(true)
    })

    test('is exact for every snapshot of the past, however late who began early commits', async () => {
      const place = await openPlace()
      const early = await open(place, 'early')
      const beside = await place.write('beside')
      const between = await snapshotOf(place)
      const given = await open(place, 'given up')
      await early.commit()
      const after = await snapshotOf(place)
      await given.rollback()
      await place.outbox.mark(beside.rowIds, ['l2'], never)
      expect(await isTold(place, between)).toMatchObject({ l2: true })
      expect(await isTold(place, after)).toMatchObject({ l2: false })
      await place.outbox.mark(early.rowIds, ['l2'], never)
      expect(await isTold(place, after)).toMatchObject({ l2: true })
    })

    test('of another life of the database is none', async () => {
      const place = await openPlace()
      const snapshot = await snapshotOf(place)
      expect(await isTold(place, snapshot)).toMatchObject({ l2: true })
      const other = { ...snapshot, incarnation: 'f0f0f0f0f0f0f0f0' as Incarnation }
      expect(await isTold(place, other)).toEqual({ l2: false, log: false })
    })

    test('has a bound on what it counts, and claims nothing of what lies beyond it', async () => {
      const place = await openPlace({ hasLog: true })
      const before = await snapshotOf(place)
      await writeRows(place, mostOwedCounted)
      const full = (await progress(place, { l2: before })).owed.l2
      expect(full).toMatchObject({ rows: mostOwedCounted, isTold: true })
      await place.write('one more')
      const more = (await progress(place, { l2: before })).owed.l2
      expect(more).toMatchObject({ rows: mostOwedCounted, isTold: false })
      // What one destination waits for is not hidden by what another one waits for.
      for (let turn = 0; turn < mostOwedCounted / outboxBatch; turn++) await claimAll(place, 'l2')
      const { l2, log } = (await progress(place, { l2: await snapshotOf(place) })).owed
      expect(l2).toMatchObject({ rows: 1, isTold: false })
      expect(log).toMatchObject({ rows: mostOwedCounted })
      expect(await claimAll(place, 'l2')).toEqual(['one more'])
      expect((await progress(place)).owed.l2.rows).toBe(0)
    })
  })

  // ---------------------------------------------------------------- once more

  test('what L2 was told of once more is known to all, and only in its own life', async () => {
    const place = await openPlace()
    const other = await place.another()
    const first = (await progress(place)).repeated
    await place.write('a')
    const { snapshot } = await progress(place)
    await place.outbox.repeated(snapshot, never)
    place.outbox.resign('relay')
    expect((await progress(other)).repeated).toEqual(snapshot)
    expect(covers(snapshot, first)).toBe(true)
    const foreign = { ...(await snapshotOf(place)), incarnation: 'f0f0f0f0f0f0f0f0' as Incarnation }
    await place.write('b')
    await other.outbox.repeated(foreign, never)
    expect((await progress(other)).repeated).toEqual(snapshot)
  })

  // ---------------------------------------------------------------- pages

  describe('a page', () => {
    test('brings rows, told or not, with what is needed to tell of them', async () => {
      const place = await openPlace()
      const { write, rowIds } = await place.write('a', 'b')
      await place.outbox.mark(rowIds, ['l2', 'log'], never)
      const page = await place.outbox.page(undefined, undefined, undefined, never)
      const poll = await place.poll()
      expect(page).toMatchObject({
        incarnation: write.incarnation,
        rows: [{ rowId: rowIds[0], xid: write.xid, entity: 'thing', ids: ['a', 'b'] }],
        versions: new Map([['thing', [1]]]),
        pruned: poll.pruned,
        next: undefined,
      })
      expect(covers(page.snapshot, poll.pruned)).toBe(true)
      expect(covers(poll.snapshot, page.snapshot)).toBe(true)
    })

    test('brings what `until` sees and `since` does not', async () => {
      const place = await openPlace()
      const ids = async (since?: Snapshot, until_?: Snapshot) =>
        idsOf(await allPages(place, since, until_))
      const early = await open(place, 'early')
      await place.write('one')
      const first = await snapshotOf(place)
      const late = await open(place, 'late')
      await early.commit()
      await place.write('two')
      const second = await snapshotOf(place)
      await late.commit()
      expect(await ids(first, second)).toEqual(['early', 'two'])
      expect(await ids(first)).toEqual(['early', 'late', 'two'])
      expect(await ids(undefined, first)).toEqual(['one'])
      expect(await ids(undefined, second)).toEqual(['early', 'one', 'two'])
      expect(await ids(second)).toEqual(['late'])
      expect(await ids(second, second)).toEqual([])
      expect(await ids()).toEqual(['early', 'late', 'one', 'two'])
    })

    test('has a bound on its rows, and the next goes on after it', async () => {
      const place = await openPlace()
      const { snapshot } = await place.poll()
      await writeRows(place, outboxBatch, 'first')
      await place.write('between')
      await writeRows(place, outboxBatch + 1, 'second')
      const sizes: number[] = []
      const rows = await allPages(place, snapshot, undefined, async (page) => {
        sizes.push(page.rows.length)
      })
      expect(sizes).toEqual([outboxBatch, outboxBatch, 2])
      expect(new Set(idsOf(rows)).size).toBe(2 * outboxBatch + 2)
      const xids = rows.map(({ xid }) => xid)
      expect(xids).toEqual(xids.toSorted((a, b) => a - b))
    })

    test('that is full is followed by an empty one, if there is no more', async () => {
      const place = await openPlace()
      await writeRows(place, outboxBatch)
      const { next } = await place.outbox.page(undefined, undefined, undefined, never)
      const last = await place.outbox.page(undefined, undefined, next, never)
      expect(last).toMatchObject({ rows: [], next: undefined })
    })

    test('has a bound on its ids, and brings a row at least', async () => {
      const place = await openPlace()
      const ids = Array.from({ length: 2.5 * mostIdsAClaim }, (_, index) => `id ${index}`)
      await place.write(...ids)
      const sizes: number[] = []
      const rows = await allPages(place, undefined, undefined, async (page) => {
        sizes.push(page.rows.length)
      })
      const whole = mostIdsAClaim / idsPerOutboxRow
      expect(sizes).toEqual([whole, whole, whole / 2])
      expect(idsOf(rows)).toEqual(ids.toSorted())
    })

    test('after one whose rows were removed meanwhile goes on all the same', async () => {
      const place = await openPlace({ hasL2: false })
      const long = await open(place, 'long')
      await writeRows(place, outboxBatch)
      await place.write('last')
      const first = await place.outbox.page(undefined, undefined, undefined, never)
      await place.outbox.prune(0, never)
      await place.outbox.prune(0, never)
      await long.commit()
      const next = await place.outbox.page(undefined, undefined, first.next, never)
      expect(next.rows).toEqual([])
      expect(idsOf(await allPages(place))).toEqual(['long'])
    })

    test('between two snapshots misses none and brings none twice, in any order of commits', async () => {
      const place = await openPlace()
      const steps = fc.array(
        fc.record({
          act: fc.constantFrom('begin', 'begin', 'commit', 'commit', 'rollback', 'mark'),
          which: fc.nat({ max: 4 }),
        }),
        { minLength: 20, maxLength: 40 },
      )
      let round = 0
      await fc.assert(
        fc.asyncProperty(steps, steps, async (before, between) => {
          round++
          const running = new Map<number, Awaited<ReturnType<typeof open>> & { id: string }>()
          let committed: string[] = []
          const run = async (acts: typeof before, name: string) => {
            for (const [index, { act, which }] of acts.entries()) {
              const transaction = running.get(which)
              const id = `${round}.${name}.${index}`
              if (act === 'mark') await claimAll(place)
              else if (act === 'begin') {
                if (!transaction) running.set(which, { ...(await open(place, id)), id })
              } else if (transaction) {
                running.delete(which)
                await transaction[act as 'commit' | 'rollback']()
                if (act === 'commit') committed.push(transaction.id)
              }
            }
          }
          await run(before, 'before')
          const since = await snapshotOf(place)
          committed = []
          await run(between, 'between')
          const expected = committed.toSorted()
          const until_ = await snapshotOf(place)
          // What commits while the pages are read belongs to the next turn.
          for (const transaction of running.values()) await transaction.commit()
          expect(idsOf(await allPages(place, since, until_))).toEqual(expected)
        }),
        { numRuns: 8 },
      )
    })

    test('of now misses nothing that had committed when the first one was asked for', async () => {
      const place = await openPlace()
      const early = await open(place, 'early')
      await writeRows(place, 2 * outboxBatch)
      const late = await open(place, 'late')
      await early.commit()
      let pages = 0
      const rows = await allPages(place, undefined, undefined, async () => {
        if (pages++ === 0) await late.commit()
      })
      expect(pages).toBe(3)
      expect(idsOf(rows)).toContain('early')
      expect(rows).toHaveLength(2 * outboxBatch + 2)
    })
  })

  // ---------------------------------------------------------------- waking

  test('a notification wakes everybody who listens, in every instance', async () => {
    const place = await openPlace()
    const other = await place.another()
    const woken: string[] = []
    place.outbox.listen(() => woken.push('one'))
    other.outbox.listen(() => woken.push('other'))
    await place.poll()
    await other.poll()
    await place.outbox.notify(never)
    await until('both are woken', () => woken.includes('one') && woken.includes('other'))
    expect(await owed(place)).toEqual([])
  })
})
