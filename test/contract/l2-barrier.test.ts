/**
 * The barrier in L2 (DESIGN §6, §7; docs/decisions/0010), on every implementation. That a server is
 * another one is played here by a record of another; `test/integration/redis-forgets.test.ts` has
 * real failovers.
 */
import { describe, expect, test } from 'vitest'
import { type BarrierRecord, ownerOf } from '../../src/model/barrier-record.ts'
import { mostXids } from '../../src/model/envelope.ts'
import { l2Rigs } from './l2-rigs.ts'
import {
  acquire,
  beside,
  changes,
  fill,
  fillOf,
  former,
  lease,
  present,
  proves,
  put,
  restore,
  snapshot,
  thing,
  upTo,
} from './words.ts'

const elsewhere = '0'.repeat(20)
const ofAnotherServer = (record: BarrierRecord) => ({ ...record, identity: elsewhere })
const evicted = () => undefined

describe.each(l2Rigs)('the barrier of L2 in %s', (_name, openRig) => {
  /** Proven up to 100, and a value that was read under `under`. */
  async function open(under = upTo(90)) {
    const rig = await openRig()
    const barrier = upTo(100)
    const changed = await changes(rig.one, barrier)
    expect(await restore(rig.one, changed, barrier)).toEqual(['written'])
    await put(rig.one, 'a', under)
    return rig
  }

  describe('where none has been written', () => {
    test('nothing is proven', async () => {
      const { one } = await openRig()
      await put(one, 'a', upTo(90))
      expect(await beside(one, 'a')).toBeUndefined()
    })

    test('each node counts as changed, since ever, and proves nothing until it is restored', async () => {
      const { one, two } = await openRig()
      await put(one, 'a', upTo(90))
      const changed = await changes(one, upTo(100))
      expect(new Set(changed.map(({ node }) => node)).size).toBe(changed.length)
      expect(changed.map(({ found }) => found)).toEqual(changed.map(() => undefined))
      expect(await beside(two, 'a')).toBeUndefined()
      expect(await restore(one, changed, upTo(101))).toEqual(['written'])
      expect(await beside(two, 'a')).toEqual(upTo(101))
    })
  })

  describe('a barrier', () => {
    test('is read with the value by every process, fresh, stale, or found by who asks for a lease', async () => {
      const { one, two } = await open()
      const barrier = snapshot('100:110:100,104')
      await proves(two, barrier)
      await put(one, 'old', upTo(90), { ttlMs: 1, ageMs: 10 })
      for (const l2 of [one, two]) {
        expect(await beside(l2, 'a')).toEqual(barrier)
        expect(await beside(l2, 'old')).toEqual(barrier)
        const grant = await acquire(l2, 'a')
        expect(grant.kind === 'value' && grant.stored.barrier).toEqual(barrier)
      }
    })

    test('is parsed once: all values beside it share its snapshot', async () => {
      const { one } = await open()
      expect(await beside(one, 'a')).toBe(await beside(one, 'a'))
      await proves(one, upTo(101))
      expect(await beside(one, 'a')).toEqual(upTo(101))
    })

    test('lies beside each of many values, wherever they lie', async () => {
      const { one, two } = await open()
      const ids = Array.from({ length: 700 }, (_, index) => `id ${index}`)
      const options = { incarnation: present, leaseMs: 9_000, insist: false }
      const grants = await one.acquire(thing(), ids, options)
      const leases = grants.flatMap((grant) => (grant.kind === 'lease' ? grant : []))
      await one.fill(
        thing(),
        leases.map((held) => fillOf(held, upTo(90))),
      )
      const lookups = await two.lookup(thing(), ['none', ...ids])
      const found = lookups.flatMap((lookup) => (lookup.kind === 'fresh' ? lookup.stored : []))
      expect(found.map(({ payload }) => String(payload))).toEqual(ids.map((id) => `value of ${id}`))
      expect(new Set(found.map(({ barrier }) => JSON.stringify(barrier)))).toEqual(
        new Set([JSON.stringify(upTo(100))]),
      )
    })

    test('that comes late replaces none that sees more', async () => {
      const { one, two } = await open()
      const order = ['100:200:100,150', '100:200:100', '100:210:100', '110:210:'].map((text) =>
        snapshot(text),
      )
      for (const [index, barrier] of order.entries()) {
        await proves(index % 2 === 0 ? one : two, barrier)
        for (const earlier of order.slice(0, index)) await proves(one, earlier)
        expect(await beside(two, 'a')).toEqual(barrier)
      }
    })

    test('with too many open transactions to list sees less', async () => {
      const { one } = await open()
      const xip = Array.from({ length: mostXids + 1 }, (_, index) => 1_000 + index)
      await proves(one, snapshot(`1000:3000:${xip.join()}`))
      expect(await beside(one, 'a')).toEqual(upTo(1_000))
    })

    test('with xids near 2^53 stays exact', async () => {
      const { one } = await open()
      const barrier = snapshot(
        '9007199254740000:9007199254740991:9007199254740000,9007199254740990',
      )
      await proves(one, barrier)
      expect(await beside(one, 'a')).toEqual(barrier)
    })

    test('that belongs to another node proves nothing here', async () => {
      const { one, rewrite } = await open()
      await rewrite((record) => ({ ...record, owner: ownerOf('10.9.9.9:6379') }))
      expect(await beside(one, 'a')).toBeUndefined()
      await proves(one, upTo(101))
      expect(await beside(one, 'a')).toEqual(upTo(101))
    })
  })

  describe('on another server', () => {
    test('it is not written: what was found there is told, and nothing is proven until it is restored', async () => {
      const { one, two, rewrite } = await open()
      await rewrite(ofAnotherServer)
      const changed = await changes(one, upTo(200))
      expect(changed.map(({ found }) => found)).toEqual(changed.map(() => upTo(100)))
      for (const l2 of [one, two]) {
        expect(await beside(l2, 'a')).toBeUndefined()
        const grant = await acquire(l2, 'a')
        expect(grant.kind === 'value' && grant.stored.barrier).toBeUndefined()
      }
      expect(await restore(one, changed, upTo(201))).toEqual(['written'])
      expect(await beside(two, 'a')).toEqual(upTo(201))
      await proves(two, upTo(202))
    })

    test('whoever comes next finds the same, should the first one end half-way', async () => {
      const { one, two, rewrite } = await open()
      await rewrite(ofAnotherServer)
      const first = await changes(one, upTo(200))
      const second = await changes(two, upTo(210))
      expect(second).toEqual(first)
      expect(await restore(two, second, upTo(211))).toEqual(['written'])
      expect(await beside(one, 'a')).toEqual(upTo(211))
    })

    test('of two that restore it the later one is told so, and the barrier stays the one that sees more', async () => {
      const { one, two, rewrite } = await open()
      await rewrite(ofAnotherServer)
      const [first, second] = [await changes(one, upTo(200)), await changes(two, upTo(200))]
      expect(await restore(one, first, upTo(220))).toEqual(['written'])
      expect(await restore(two, second, upTo(210), upTo(205))).toEqual(['written'])
      expect(await beside(one, 'a')).toEqual(upTo(220))
    })

    test('a restore is refused when the server has changed again, and what was found is kept', async () => {
      const { one, rewrite } = await open()
      await rewrite(ofAnotherServer)
      const changed = await changes(one, upTo(200))
      await rewrite(ofAnotherServer)
      expect(await restore(one, changed, upTo(201))).toEqual(['changed'])
      expect(await beside(one, 'a')).toBeUndefined()
      const again = await changes(one, upTo(202))
      expect(again).toEqual(changed)
      expect(await restore(one, again, upTo(203))).toEqual(['written'])
    })

    test('a restore of a change before this one is refused', async () => {
      const { one, rewrite } = await open()
      await rewrite(ofAnotherServer)
      const changed = await changes(one, upTo(200))
      const before = changed.map((change) => ({ ...change, identity: elsewhere }))
      expect(await restore(one, before, upTo(201))).toEqual(['changed'])
      expect(await beside(one, 'a')).toBeUndefined()
      expect(await restore(one, changed, upTo(201))).toEqual(['written'])
      // It was restored meanwhile: the late one is a barrier as any other.
      expect(await restore(one, before, upTo(202))).toEqual(['written'])
      expect(await beside(one, 'a')).toEqual(upTo(202))
    })

    test('a node that is none any more cannot be restored', async () => {
      const { one } = await open()
      const change = { node: '10.9.9.9:6379', identity: elsewhere, found: undefined }
      expect((await one.restore(change, upTo(102), undefined)).kind).toBe('unavailable')
    })
  })

  describe('that was evicted, flushed or damaged', () => {
    const losses = [
      ['evicted', (rig: Awaited<ReturnType<typeof open>>) => rig.rewrite(evicted)],
      ['damaged', (rig) => rig.rewrite(() => Buffer.from('B\u0001v what is this?'.repeat(4)))],
      ['text', (rig) => rig.rewrite(() => Buffer.from('x'))],
    ] as const satisfies readonly [string, (rig: Awaited<ReturnType<typeof open>>) => unknown][]

    test.each(losses)(
      '%s: nothing is proven; who wrote it here before goes on',
      async (_, lose) => {
        const rig = await open()
        await lose(rig)
        expect(await beside(rig.one, 'a')).toBeUndefined()
        await proves(rig.one, upTo(101))
        expect(await beside(rig.two, 'a')).toEqual(upTo(101))
      },
    )

    test.each(losses)('%s: who never wrote it here has to restore', async (_, lose) => {
      const rig = await open()
      await lose(rig)
      const changed = await changes(rig.two, upTo(101))
      expect(changed.map(({ found }) => found)).toEqual(changed.map(() => undefined))
      expect(await restore(rig.two, changed, upTo(102))).toEqual(['written'])
      expect(await beside(rig.one, 'a')).toEqual(upTo(102))
    })

    test('while it is being restored: who saw the change may still restore, and nobody else', async () => {
      const { one, two, rewrite } = await open()
      await rewrite(ofAnotherServer)
      const changed = await changes(one, upTo(200))
      await rewrite(evicted)
      expect(await restore(two, changed, upTo(201))).toEqual(['changed'])
      await rewrite(evicted)
      expect(await restore(one, changed, upTo(201))).toEqual(['written'])
      expect(await beside(two, 'a')).toEqual(upTo(201))
    })

    test('a change is forgotten by nobody: without the record it is not just written', async () => {
      const { one, rewrite } = await open()
      await rewrite(ofAnotherServer)
      await changes(one, upTo(200))
      await rewrite(evicted)
      await changes(one, upTo(201))
    })
  })

  describe('of another incarnation', () => {
    test('has to be restored: what L2 was told in the one before says nothing', async () => {
      const { one, rewrite, records } = await open()
      const changed = await changes(one, upTo(10, former))
      expect(changed.map(({ found }) => found)).toEqual(changed.map(() => upTo(100)))
      expect(await restore(one, changed, upTo(11, former))).toEqual(['written'])
      expect(await beside(one, 'a')).toEqual(upTo(11, former))
      await proves(one, upTo(12, former))
      // Nor may it be just written where the record is gone.
      await rewrite(evicted)
      await changes(one, upTo(101))
      expect((await records()).every((record) => record?.isValid === false)).toBe(true)
    })
  })

  describe('a generation', () => {
    /** Restored with it, beside values that were read under 90 and under 150. */
    async function withGeneration(generation = upTo(120)) {
      const rig = await open()
      await put(rig.one, 'young', upTo(150))
      await rig.rewrite(ofAnotherServer)
      const changed = await changes(rig.one, upTo(200))
      expect(await restore(rig.one, changed, upTo(200), generation)).toEqual(['written'])
      return rig
    }

    test('makes values that do not cover it misses, and no others', async () => {
      const { one, two } = await withGeneration()
      for (const l2 of [one, two]) {
        expect(await beside(l2, 'a')).toBe('outlived')
        expect(await beside(l2, 'young')).toEqual(upTo(200))
      }
    })

    test('gives who asks the lease, and the next fill repairs it', async () => {
      const { one, two } = await withGeneration()
      expect((await acquire(two, 'young')).kind).toBe('value')
      const leased = await lease(two, 'a')
      expect(await fill(two, fillOf(leased, upTo(190)))).toBe('filled')
      expect(await beside(one, 'a')).toEqual(upTo(200))
    })

    test('goes by the rules of snapshots', async () => {
      const { one } = await withGeneration(snapshot('120:140:125'))
      await put(one, 'misses 130', snapshot('130:135:130,131'))
      await put(one, 'misses 125', snapshot('125:140:125'))
      await put(one, 'sees its own', snapshot('130:140:130', present, 130))
      expect(await beside(one, 'misses 130')).toBe('outlived')
      expect(await beside(one, 'misses 125')).toEqual(upTo(200))
      expect(await beside(one, 'sees its own')).toEqual(upTo(200))
      expect((await acquire(one, 'misses 130')).kind).toBe('lease')
      expect((await acquire(one, 'misses 125')).kind).toBe('value')
      expect((await acquire(one, 'sees its own')).kind).toBe('value')
    })

    test('holds over barriers, eviction of the record, and while the next change is restored', async () => {
      const { one, two, rewrite } = await withGeneration()
      await proves(two, upTo(201))
      expect(await beside(two, 'a')).toBe('outlived')
      await rewrite(evicted)
      await proves(one, upTo(202))
      expect(await beside(two, 'a')).toBe('outlived')
      await rewrite(ofAnotherServer)
      const changed = await changes(one, upTo(210))
      expect(await beside(two, 'a')).toBe('outlived')
      expect((await acquire(two, 'a')).kind).toBe('lease')
      expect(await beside(two, 'young')).toBeUndefined()
      await rewrite(evicted)
      expect(await restore(one, changed, upTo(210))).toEqual(['written'])
      expect(await beside(two, 'a')).toBe('outlived')
      expect(await beside(two, 'young')).toEqual(upTo(210))
    })

    test('is replaced by one that sees more, and not by one that sees less', async () => {
      const { one, rewrite } = await withGeneration()
      await rewrite(ofAnotherServer)
      expect(await restore(one, await changes(one, upTo(210)), upTo(210), upTo(80))).toEqual([
        'written',
      ])
      expect(await beside(one, 'a')).toBe('outlived')
      await rewrite(ofAnotherServer)
      expect(await restore(one, await changes(one, upTo(220)), upTo(220), upTo(151))).toEqual([
        'written',
      ])
      expect(await beside(one, 'young')).toBe('outlived')
    })

    test('with too many open transactions to list is covered by fewer values', async () => {
      const xip = Array.from({ length: mostXids + 1 }, (_, index) => 120 + index)
      const { one } = await withGeneration(snapshot(`120:1300:${xip.join()}`))
      await put(one, 'before', snapshot(`120:1300:${xip.slice(0, 10).join()}`))
      await put(one, 'after', upTo(1_300))
      expect(await beside(one, 'before')).toBe('outlived')
      expect(await beside(one, 'after')).toEqual(upTo(200))
    })

    test('ends with its incarnation', async () => {
      const { one, records } = await withGeneration()
      await put(one, 'later', upTo(5, former))
      // Unproven: the barrier is of another incarnation, too.
      expect(await beside(one, 'later')).toEqual(upTo(200))
      const changed = await changes(one, upTo(10, former))
      expect(await restore(one, changed, upTo(10, former))).toEqual(['written'])
      expect((await records()).map((record) => record?.generation)).toEqual(
        changed.map(() => undefined),
      )
      expect(await beside(one, 'later')).toEqual(upTo(10, former))
    })
  })
})
