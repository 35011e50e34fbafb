/**
 * What the coordinator relies on of an L2 (DESIGN §4.4, §4.6, §5.2, §5.4), on every implementation:
 * the real one and its twin in memory promise the same.
 */
import { describe, expect, test } from 'vitest'
import type { HotList } from '../../src/model/bus-ports.ts'
import type { L2, Lease } from '../../src/model/l2-port.ts'
import type { Snapshot } from '../../src/model/snapshot.ts'
import { until } from '../support/world.ts'
import { l2Rigs } from './l2-rigs.ts'
import {
  acquire,
  fill,
  fillOf,
  former,
  found,
  invalidate,
  lease,
  present,
  put,
  snapshot,
  thing,
  upTo,
  write,
} from './words.ts'

/** Long enough that nothing ends by it while the test runs. */
const long = 9_000

describe.each(l2Rigs)('L2 in %s', (_name, open) => {
  describe('lookup and fill', () => {
    test('what was never filled is a miss', async () => {
      const { one } = await open()
      expect(await one.lookup(thing(), ['a'])).toEqual([{ kind: 'miss', why: 'absent' }])
      expect(await one.lookup(thing(), [])).toEqual([])
    })

    test('a filled value is found by every process, with its bytes and its snapshot', async () => {
      const { one, two } = await open()
      const under = snapshot('100:120:100,103,119', present, 110)
      const payload = Buffer.from([0, 1, 0x4c, 255, 13, 10, 0])
      await put(one, 'a', under, { payload })
      const [found] = await two.lookup(thing(), ['a'])
      expect(found).toMatchObject({ kind: 'fresh', stored: { snapshot: under, payload } })
    })

    test('a value of no bytes is a value', async () => {
      const { one, two } = await open()
      await put(one, 'a', upTo(100), { payload: Buffer.alloc(0) })
      expect(await found(two, 'a')).toBe('')
    })

    test('a negative entry is a value: the id is known not to exist', async () => {
      const { one, two } = await open()
      await put(one, 'a', upTo(100), { payload: undefined })
      expect(await found(two, 'a')).toBeNull()
      expect(await acquire(two, 'a')).toMatchObject({
        kind: 'value',
        stored: { payload: undefined, snapshot: upTo(100) },
      })
    })

    test('a negative entry is kept out by a write that it does not see, as any value', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a')
      await invalidate(two, write(100), ['a'])
      const unborn = fillOf(leased, upTo(100), { payload: undefined })
      expect(await fill(one, unborn)).toBe('tombstone')
      await put(one, 'a', upTo(101), { payload: undefined })
      await invalidate(two, write(101), ['a'])
      expect(await found(one, 'a')).toBe('miss')
    })

    test("a value's life is counted from when its load began", async () => {
      const { one } = await open()
      await put(one, 'a', upTo(100), { ageMs: 40_000, ttlMs: 60_000 })
      const [found] = await one.lookup(thing(), ['a'])
      if (found?.kind !== 'fresh') throw new Error(`a fresh value was expected, not ${found?.kind}`)
      expect(found.stored.ageMs).toBeGreaterThanOrEqual(39_999)
      expect(found.stored.freshForMs).toBeLessThanOrEqual(20_001)
      expect(found.stored.freshForMs + found.stored.ageMs).toBeCloseTo(60_000, -1)
    })

    test('past its ttl a value is stale, and whoever asks may load it anew', async () => {
      const { one, two } = await open()
      await put(one, 'a', upTo(100), { ageMs: 5_000, ttlMs: 4_000 })
      const [found] = await two.lookup(thing(), ['a'])
      expect(found?.kind).toBe('stale')
      expect((await acquire(two, 'a')).kind).toBe('lease')
    })

    test('past its grace a value is a miss', async () => {
      const { one } = await open()
      await put(one, 'a', upTo(100), { ageMs: 5_000, ttlMs: 4_000, graceMs: long })
      expect((await one.lookup(thing(1, 2_000), ['a']))[0]?.kind).toBe('stale')
      expect((await one.lookup(thing(1, 900), ['a']))[0]?.kind).toBe('miss')
    })

    test('a value goes by itself when ttl and grace are over', async () => {
      const { one } = await open()
      await put(one, 'a', upTo(100), { ttlMs: 20, graceMs: 20 })
      const everlasting = thing(1, 3_600_000)
      await until('it is gone', async () => {
        return (await one.lookup(everlasting, ['a']))[0]?.kind === 'miss'
      })
    })
  })

  describe('leases', () => {
    test('one process loads, the others wait, and know until when at most', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a', { leaseMs: 5_000 })
      const waiting = await acquire(two, 'a', { leaseMs: long })
      if (waiting.kind !== 'wait') throw new Error(`"wait" was expected, not ${waiting.kind}`)
      expect(waiting.pollAfterMs).toBeGreaterThan(0)
      expect(waiting.pollAfterMs).toBeLessThanOrEqual(5_000)
      expect(await fill(one, fillOf(leased, upTo(100)))).toBe('filled')
    })

    test('of many that ask at once exactly one loads', async () => {
      const { one, two } = await open()
      const ids = Array.from({ length: 20 }, (_, index) => `id ${index}`)
      const options = { incarnation: present, leaseMs: long, insist: false }
      const [left, right] = await Promise.all([
        one.acquire(thing(), ids, options),
        two.acquire(thing(), ids.toReversed(), options),
      ])
      for (const [index] of ids.entries()) {
        const kinds = [left[index]?.kind, right[ids.length - 1 - index]?.kind]
        expect(kinds.sort()).toEqual(['lease', 'wait'])
      }
    })

    test('the process that has the lease gets it again, under the same nonce', async () => {
      const { one, two } = await open()
      const first = await lease(one, 'a')
      const second = await lease(one, 'a')
      expect(second.nonce).toBe(first.nonce)
      expect((await acquire(two, 'a')).kind).toBe('wait')
    })

    test('a lease that has lapsed is taken over, and the first of the two fills counts', async () => {
      const { one, two } = await open()
      const slow = await lease(one, 'a', { leaseMs: 20 })
      await until('the lease has lapsed', async () => (await acquire(two, 'a')).kind === 'lease')
      const fast = await lease(two, 'a')
      expect((await acquire(one, 'a')).kind).toBe('wait')
      expect(await fill(two, fillOf(fast, upTo(101), { payload: Buffer.from('new') }))).toBe(
        'filled',
      )
      expect(await fill(one, fillOf(slow, upTo(100)))).toBe('nonce-changed')
      expect(await found(one, 'a')).toBe('new')
    })

    test('a lease that ends later than any does, since the clock was set back, holds nobody up', async () => {
      const { one, two } = await open()
      await lease(one, 'a', { leaseMs: 3_600_000 })
      expect((await acquire(two, 'a')).kind).toBe('lease')
    })

    test('a load that outlasts its lease still fills while nothing has happened', async () => {
      const { one, two } = await open()
      const slow = await lease(one, 'a', { leaseMs: 20 })
      await until('the lease has lapsed', async () => (await acquire(two, 'a')).kind === 'lease')
      expect(await fill(one, fillOf(slow, upTo(100)))).toBe('filled')
    })

    test('a lease that is renewed lasts from then on, for who asks', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a', { leaseMs: 20 })
      expect(await one.renew(thing(), [leased], long)).toEqual(['held'])
      const waiting = await acquire(two, 'a')
      if (waiting.kind !== 'wait') throw new Error(`"wait" was expected, not ${waiting.kind}`)
      expect(waiting.pollAfterMs).toBeGreaterThan(long - 5_000)
      expect(waiting.pollAfterMs).toBeLessThanOrEqual(long)
      expect(await fill(one, fillOf(leased, upTo(100)))).toBe('filled')
    })

    test('a lease that has lapsed is held again when it is renewed before somebody takes it over', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a', { leaseMs: 1 })
      await lease(one, 'b', { leaseMs: 1 })
      await until('both have lapsed', async () => (await acquire(two, 'b')).kind === 'lease')
      expect(await one.renew(thing(), [leased], long)).toEqual(['held'])
      expect((await acquire(two, 'a')).kind).toBe('wait')
    })

    test('a lease that was taken over is lost, and stays with who has it', async () => {
      const { one, two } = await open()
      const slow = await lease(one, 'a', { leaseMs: 1 })
      await until('the lease has lapsed', async () => (await acquire(two, 'a')).kind === 'lease')
      expect(await one.renew(thing(), [slow], long)).toEqual(['lost'])
      expect((await acquire(two, 'a')).kind).toBe('lease')
    })

    test('a lease that was given back or filled, or whose fence is gone or another, is lost', async () => {
      const { one, two, evict } = await open()
      const ids = ['released', 'filled', 'evicted', 'another', 'never', 'held']
      const [released, filled, evicted, another, never, held] = await Promise.all(
        ids.map((id) => (id === 'never' ? { id, nonce: '0', tombstones: [] } : lease(one, id))),
      )
      const all = [released, filled, evicted, another, never, held] as Lease[]
      await one.release(thing(), [released as Lease])
      await fill(one, fillOf(filled as Lease, upTo(100)))
      await evict('fence', 'evicted')
      await evict('fence', 'another')
      await lease(one, 'another', { leaseMs: 5_000 })
      expect(await one.renew(thing(), all, long)).toEqual([...Array(5).fill('lost'), 'held'])
      for (const id of ['released', 'evicted', 'never']) {
        expect((await acquire(two, id)).kind).toBe('lease')
      }
      const waiting = await acquire(two, 'another')
      expect(waiting.kind === 'wait' && waiting.pollAfterMs).toBeLessThanOrEqual(5_000)
    })

    test('a renewal changes nothing but the time: tombstones and who waits are kept', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a')
      await acquire(two, 'a')
      await invalidate(two, write(100), ['a'])
      expect(await one.renew(thing(), [leased], long)).toEqual(['held'])
      const woken = two.filled(thing(), 'a', long, new AbortController().signal)
      expect((await lease(one, 'a')).tombstones).toEqual([{ ...write(100), merged: false }])
      expect(await fill(one, fillOf(leased, upTo(100)))).toBe('tombstone')
      await woken
    })

    test('a lease that is released is free at once', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a')
      await one.release(thing(), [leased])
      expect((await acquire(two, 'a')).kind).toBe('lease')
    })

    test('nobody releases the lease of another process', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a')
      await two.release(thing(), [leased, { ...leased, id: 'never leased' }])
      expect((await acquire(two, 'a')).kind).toBe('wait')
    })

    test('a refused fill gives its lease back', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a')
      await invalidate(two, write(100), ['a'])
      expect(await fill(one, fillOf(leased, upTo(100)))).toBe('tombstone')
      expect((await acquire(two, 'a')).kind).toBe('lease')
    })

    test('who asks for a lease gets the value that was filled meanwhile', async () => {
      const { one, two } = await open()
      await put(one, 'a', upTo(100))
      expect(await acquire(two, 'a')).toMatchObject({
        kind: 'value',
        stored: { snapshot: upTo(100), payload: Buffer.from('value of a') },
      })
    })

    test('who insists gets the lease although there is a value, which stays until the fill', async () => {
      const { one, two } = await open()
      await put(one, 'a', upTo(100))
      const leased = await lease(two, 'a', { insist: true })
      expect(await found(one, 'a')).toBe('value of a')
      expect(await fill(two, fillOf(leased, upTo(101), { payload: Buffer.from('new') }))).toBe(
        'filled',
      )
      expect(await found(one, 'a')).toBe('new')
    })

    test('who waits is told of the tombstones that nobody can fill past', async () => {
      const { one, two } = await open()
      await lease(one, 'a')
      await invalidate(one, write(100), ['a'])
      expect(await acquire(two, 'a')).toMatchObject({
        kind: 'wait',
        tombstones: [{ ...write(100), merged: false }],
      })
    })
  })

  describe('tombstones', () => {
    test.each(['100:100:', '50:100:50', '99:101:99,100', '100:200:100', '90:150:90,100'])(
      'a write of 100 keeps out what was read under %s',
      async (under) => {
        const { one, two } = await open()
        const leased = await lease(one, 'a')
        await invalidate(two, write(100), ['a'])
        expect(await fill(one, fillOf(leased, snapshot(under)))).toBe('tombstone')
        expect(await found(two, 'a')).toBe('miss')
      },
    )

    test.each(['101:101:', '99:101:99', '50:200:50,99,101', '1000:1000:'])(
      'a write of 100 lets in what was read under %s',
      async (under) => {
        const { one, two } = await open()
        const leased = await lease(one, 'a')
        await invalidate(two, write(100), ['a'])
        expect(await fill(one, fillOf(leased, snapshot(under)))).toBe('filled')
      },
    )

    test('who acquires after the write is told of it', async () => {
      const { one, two } = await open()
      await invalidate(two, write(100), ['a'])
      await invalidate(two, write(102), ['a'])
      const { tombstones } = await lease(one, 'a')
      expect(tombstones).toHaveLength(2)
      expect(tombstones).toEqual(
        expect.arrayContaining([100, 102].map((xid) => ({ ...write(xid), merged: false }))),
      )
    })

    test('a write and its repetitions leave one tombstone', async () => {
      const { one, two } = await open()
      await Promise.all([one, two, one, two].map((l2) => invalidate(l2, write(100), ['a'])))
      expect((await lease(one, 'a')).tombstones).toEqual([{ ...write(100), merged: false }])
    })

    test('of two open writes a fill has to see both', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a')
      await invalidate(two, write(100), ['a'])
      await invalidate(two, write(103), ['a'])
      expect(await fill(one, fillOf(leased, snapshot('100:110:100')))).toBe('tombstone')
      expect(await fill(one, fillOf(leased, snapshot('103:110:103')))).toBe('tombstone')
      expect(await fill(one, fillOf(leased, snapshot('101:110:101,105')))).toBe('filled')
    })

    test('an accepted fill takes the tombstones along, and the nonce', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a')
      await invalidate(two, write(100), ['a'])
      expect(await fill(one, fillOf(leased, upTo(101)))).toBe('filled')
      expect(await fill(one, fillOf(leased, upTo(200)))).toBe('nonce-changed')
      const next = await lease(two, 'a', { insist: true })
      expect(next.nonce).not.toBe(leased.nonce)
      expect(next.tombstones).toEqual([])
    })

    test('a write drops the value that does not see it, in any of its forms', async () => {
      const { one, two } = await open()
      for (const under of ['100:100:', '99:150:99,100', '50:50:']) {
        await put(one, under, snapshot(under))
        await invalidate(two, write(100), [under])
        expect(await found(one, under)).toBe('miss')
      }
    })

    test('a repeated or late write costs a value that sees it no hit, and leaves nothing behind', async () => {
      const { one, two } = await open()
      await invalidate(two, write(100), ['a'])
      await put(one, 'a', upTo(101))
      for (const l2 of [one, two, one]) await invalidate(l2, write(100), ['a'])
      expect(await found(two, 'a')).toBe('value of a')
      expect((await lease(two, 'a', { insist: true })).tombstones).toEqual([])
    })

    test('a late write costs a write-through of its own xid no hit', async () => {
      const { one, two } = await open()
      await put(one, 'a', snapshot('100:100:', present, 105))
      await invalidate(two, write(105), ['a'])
      expect(await found(two, 'a')).toBe('value of a')
      await invalidate(two, write(104), ['a'])
      expect(await found(two, 'a')).toBe('miss')
    })

    test('a fill never replaces a value that sees more', async () => {
      const { one, two } = await open()
      const refused = async (newer: Snapshot, older: Snapshot) => {
        const id = JSON.stringify([newer, older])
        await put(one, id, newer)
        const leased = await lease(two, id, { insist: true })
        expect(await fill(two, fillOf(leased, older, { payload: Buffer.from('old') }))).toBe(
          'not-covered',
        )
        expect(await found(one, id)).toBe(`value of ${id}`)
      }
      await refused(upTo(101), upTo(100))
      await refused(snapshot('100:110:100'), snapshot('100:110:100,105'))
      await refused(snapshot('100:110:100'), snapshot('100:109:100'))
      await refused(snapshot('100:100:', present, 104), upTo(104))
      // Neither sees all of the other.
      await refused(snapshot('100:110:100'), snapshot('105:110:105'))
    })

    test('a fill replaces a value that sees the same or less', async () => {
      const { one, two } = await open()
      const filled = async (older: Snapshot, newer: Snapshot) => {
        const id = JSON.stringify([newer, older])
        await put(one, id, older)
        const leased = await lease(two, id, { insist: true })
        const payload = Buffer.from('new')
        expect(await fill(two, fillOf(leased, newer, { payload }))).toBe('filled')
        expect(await found(one, id)).toBe('new')
      }
      await filled(upTo(100), upTo(100))
      await filled(upTo(100), upTo(101))
      await filled(snapshot('100:110:100,105'), snapshot('100:110:100'))
      await filled(snapshot('100:110:100,109'), snapshot('100:109:100'))
      await filled(snapshot('100:104:100,101,102,103'), upTo(100))
      await filled(snapshot('100:103:100,102'), snapshot('100:100:', present, 101))
      await filled(snapshot('100:100:', present, 104), snapshot('101:105:101', present, 101))
    })

    test('a tombstone that is forgotten renews the nonce: a loader that was paused stays out', async () => {
      const { one, two } = await open({ retentionMs: 150 })
      const paused = await lease(one, 'a', { leaseMs: 1 })
      await invalidate(two, write(100), ['a'])
      // Somebody else keeps asking, so that the fence itself lives on.
      await until('the tombstone is forgotten', async () => {
        const grant = await acquire(two, 'a', { leaseMs: 1 })
        return grant.kind === 'lease' && grant.tombstones.length === 0
      })
      expect(await fill(one, fillOf(paused, upTo(100)))).toBe('nonce-changed')
      expect(await found(one, 'a')).toBe('miss')
    })

    test('a fence that is forgotten whole keeps a paused loader out too', async () => {
      const { one, two } = await open({ retentionMs: 30 })
      const paused = await lease(one, 'a', { leaseMs: 1 })
      await invalidate(two, write(100), ['a'])
      await until('the fence is another', async () => {
        const grant = await acquire(two, 'a', { leaseMs: 1 })
        return grant.kind === 'lease' && grant.nonce !== paused.nonce
      })
      expect(await fill(one, fillOf(paused, upTo(100)))).toBe('nonce-changed')
    })
  })

  describe('what Redis forgets', () => {
    test.each([
      ['the fence', ['fence']],
      ['the value', ['value']],
      ['value and fence', ['value', 'fence']],
    ] as const)(
      'a loader of before the write fills nothing when %s is evicted after it',
      async (_what, lost) => {
        const { one, two, evict } = await open()
        await put(two, 'a', upTo(50))
        const paused = await lease(one, 'a', { insist: true })
        await invalidate(two, write(100), ['a'])
        for (const what of lost) await evict(what, 'a')
        expect(await fill(one, fillOf(paused, upTo(100)))).not.toBe('filled')
        expect(await found(two, 'a')).toBe('miss')
      },
    )

    test('a loader of before fills nothing under a fence that was born again', async () => {
      const { one, two, evict } = await open()
      const paused = await lease(one, 'a')
      await evict('fence', 'a')
      const next = await lease(two, 'a')
      expect(await fill(one, fillOf(paused, upTo(100)))).toBe('nonce-changed')
      expect(await fill(two, fillOf(next, upTo(100)))).toBe('filled')
    })

    test('a loader of before fills nothing when all is flushed', async () => {
      const { one, two, flush } = await open({ isOwn: true })
      const paused = await lease(one, 'a')
      await invalidate(two, write(100), ['a'])
      await flush()
      expect(await fill(one, fillOf(paused, upTo(100)))).toBe('nonce-changed')
      // The same without any write: nobody can know that there was none.
      const again = await lease(one, 'a')
      await flush()
      expect(await fill(one, fillOf(again, upTo(100)))).toBe('nonce-changed')
    })

    test('a value that came back is dropped by the write told again', async () => {
      const { one, two, evict } = await open()
      await invalidate(two, write(100), ['a'])
      await evict('fence', 'a')
      await put(one, 'a', upTo(100))
      await invalidate(two, write(100), ['a'])
      expect(await found(one, 'a')).toBe('miss')
    })
  })

  describe('what an invalidation tells', () => {
    test('how many values lay there and are gone, in any version', async () => {
      const { one, two } = await open()
      await put(one, 'a', upTo(100))
      await put(one, 'a', upTo(100), {}, thing(2))
      await put(one, 'b', upTo(101))
      const drops = ['a', 'b', 'c'].map((id) => ({ entity: 'thing', id, versions: [1, 2] }))
      expect(await two.invalidate(write(100), drops)).toMatchObject({ values: 2 })
      expect(await two.invalidate(write(100), drops)).toMatchObject({ values: 0 })
    })

    test('everybody over the fast plane, unless it is quiet: then it only drops and fences', async () => {
      const { one, two, fastPlane } = await open()
      const heard: number[] = []
      fastPlane.listen((told) => heard.push(told.write.xid))
      await put(one, 'a', upTo(100))
      const drops = [{ entity: 'thing', id: 'a', versions: [1] }]
      await two.invalidate(write(100), drops, { quiet: true })
      expect((await lease(one, 'a')).tombstones).toEqual([{ ...write(100), merged: false }])
      await two.invalidate(write(101), drops, { quiet: false })
      await until('it was heard', () => heard.length > 0)
      expect(heard).toEqual([101])
    })

    test('lists of hot keys over the fast plane, and their senders too', async () => {
      const { fastPlane } = await open()
      const heard: HotList[] = []
      const writes: unknown[] = []
      fastPlane.listenHot((list) => heard.push(list))
      fastPlane.listen((told) => writes.push(told))
      const keys = ['a', '"', 'ä💶', '42'].map((id) => ({
        ...{ entity: 'thing', id, readsPerSecond: 300, l1Share: 0.5 },
      }))
      const { signal } = new AbortController()
      await fastPlane.announce({ instance: 'one', keys }, signal)
      // A cluster takes each through any node, and promises no order: the next list repairs it.
      await until('the first was heard', () => heard.length === 1)
      await fastPlane.announce({ instance: 'one', keys: [] }, signal)
      await until('both were heard', () => heard.length === 2)
      expect(heard).toEqual([
        { instance: 'one', keys },
        { instance: 'one', keys: [] },
      ])
      expect(writes).toEqual([])
    })

    test('who waits is woken by a quiet write-through too', async () => {
      const { one, two } = await open()
      await acquire(one, 'a')
      await acquire(two, 'a')
      const [nonce] = await invalidate(one, write(100), ['a'])
      const woken = two.filled(thing(), 'a', long, new AbortController().signal)
      const under = snapshot('100:100:', present, 100)
      const held = { id: 'a', nonce: nonce as never, tombstones: [] }
      const through = { ...fillOf(held, under), version: 1 }
      await one.invalidate(write(100), [{ entity: 'thing', id: 'a', versions: [1], through }], {
        quiet: true,
      })
      await woken
    })
  })

  describe('incarnations', () => {
    test('a write of another incarnation keeps every fill out until it is known to be over', async () => {
      const { one, two } = await open()
      await invalidate(two, write(100, former), ['a'])
      const leased = await lease(one, 'a')
      expect(leased.tombstones).toEqual([{ ...write(100, former), merged: false }])
      expect(await fill(one, fillOf(leased, upTo(1_000)))).toBe('tombstone')
      expect(await fill(one, fillOf(leased, upTo(1_000), { over: [present] }))).toBe('tombstone')
      expect(await fill(one, fillOf(leased, upTo(1_000), { over: [former] }))).toBe('filled')
    })

    test('that one incarnation is over says nothing of the writes of this one', async () => {
      const { one, two } = await open()
      await invalidate(two, write(100, former), ['a'])
      await invalidate(two, write(100), ['a'])
      const leased = await lease(one, 'a')
      const both = { over: [former, present] }
      expect(await fill(one, fillOf(leased, upTo(100), both))).toBe('tombstone')
      expect(await fill(one, fillOf(leased, upTo(101), both))).toBe('filled')
    })

    test('a value of another incarnation is no answer to who asks for a lease', async () => {
      const { one, two } = await open()
      await put(one, 'a', upTo(1_000, former))
      expect((await acquire(two, 'a')).kind).toBe('lease')
    })

    test('a value of another incarnation is replaced, however much it sees', async () => {
      const { one, two } = await open()
      await put(one, 'a', upTo(1_000_000, former))
      const leased = await lease(two, 'a')
      const payload = Buffer.from('new')
      expect(await fill(two, fillOf(leased, upTo(10), { payload }))).toBe('filled')
      expect(await found(one, 'a')).toBe('new')
    })

    test('a write drops a value of another incarnation, whatever its numbers say', async () => {
      const { one, two } = await open()
      await put(one, 'a', upTo(1_000_000, former))
      await invalidate(two, write(100), ['a'])
      expect(await found(one, 'a')).toBe('miss')
      expect((await lease(one, 'a')).tombstones).toEqual([{ ...write(100), merged: false }])
    })

    test('a loader of the incarnation before fills nothing past a write of this one', async () => {
      const { one, two } = await open()
      const paused = await lease(one, 'a', { incarnation: former })
      await invalidate(two, write(100), ['a'])
      expect(await fill(one, fillOf(paused, upTo(1_000, former)))).toBe('tombstone')
    })
  })

  describe('schema versions', () => {
    test('a write drops the values of all versions that it names', async () => {
      const { one, two } = await open()
      for (const version of [1, 2, 7]) await put(one, 'a', upTo(100), {}, thing(version))
      await invalidate(two, write(100), ['a'], [1, 2, 7])
      for (const version of [1, 2, 7]) expect(await found(one, 'a', thing(version))).toBe('miss')
    })

    test('of several versions a write drops those that do not see it, and only those', async () => {
      const { one, two } = await open()
      await put(one, 'a', upTo(100), {}, thing(1))
      await put(one, 'a', upTo(101), {}, thing(2))
      await invalidate(two, write(100), ['a'], [1, 2])
      expect(await found(one, 'a', thing(1))).toBe('miss')
      expect(await found(one, 'a', thing(2))).toBe('value of a')
    })

    test('a loader of one version stays out when another version was filled past the write', async () => {
      const { one, two } = await open()
      const paused = await lease(one, 'a', { entity: thing(1), leaseMs: 1 })
      await invalidate(two, write(100), ['a'], [1, 2])
      let next = await acquire(two, 'a', { entity: thing(2) })
      await until('the lease has lapsed', async () => {
        next = await acquire(two, 'a', { entity: thing(2) })
        return next.kind === 'lease'
      })
      if (next.kind !== 'lease') throw new Error('unreachable')
      expect(await fill(two, fillOf(next, upTo(101)), thing(2))).toBe('filled')
      await invalidate(two, write(100), ['a'], [1, 2])
      expect(await fill(one, fillOf(paused, upTo(100)), thing(1))).toBe('nonce-changed')
      expect(await found(one, 'a', thing(1))).toBe('miss')
    })
  })

  describe('more writes than a fence lists', () => {
    const xids = Array.from({ length: 50 }, (_, index) => 100 + 2 * index)

    test.each([
      ['as they came', xids],
      ['backwards', xids.toReversed()],
      ['mixed', xids.map((_, index) => xids[(index * 17) % 50] as number)],
    ] as const)(
      'every one of 50 writes keeps out what does not see it, told %s',
      async (_order, told) => {
        const { one, two } = await open()
        const leased = await lease(one, 'a')
        for (const xid of told) await invalidate(two, write(xid), ['a'])
        const { tombstones } = await lease(one, 'a')
        expect(tombstones.length).toBeLessThanOrEqual(33)
        for (const xid of xids) {
          const unseen = snapshot(`${xid}:300:${xid}`)
          expect(await fill(one, fillOf(leased, unseen)), `under ${xid}:300:${xid}`).toBe(
            'tombstone',
          )
        }
        expect(await fill(one, fillOf(leased, upTo(300)))).toBe('filled')
      },
    )

    test('they make none of another incarnation forgotten', async () => {
      const { one, two } = await open()
      await invalidate(two, write(500, former), ['a'])
      for (const xid of xids) await invalidate(two, write(xid), ['a'])
      const leased = await lease(one, 'a')
      expect(leased.tombstones).toContainEqual({ ...write(500, former), merged: false })
      expect(await fill(one, fillOf(leased, upTo(300)))).toBe('tombstone')
      expect(await fill(one, fillOf(leased, upTo(300), { over: [former] }))).toBe('filled')
    })

    test('those of two incarnations are bounded, and each keeps out its own', async () => {
      const { one, two } = await open()
      for (const xid of xids) {
        await invalidate(two, write(xid, former), ['a'])
        await invalidate(two, write(xid), ['a'])
      }
      const leased = await lease(one, 'a')
      expect(leased.tombstones.length).toBeLessThanOrEqual(66)
      const lastUnseen = snapshot('198:300:198')
      expect(await fill(one, fillOf(leased, lastUnseen, { over: [former] }))).toBe('tombstone')
      expect(await fill(one, fillOf(leased, upTo(300)))).toBe('tombstone')
      expect(await fill(one, fillOf(leased, upTo(300), { over: [former] }))).toBe('filled')
    })

    test('a write-through under them is refused rather than taken on trust', async () => {
      const { one, two } = await open()
      for (const xid of xids) await invalidate(two, write(xid), ['a'])
      const [nonce] = await invalidate(one, write(150), ['a'])
      if (!nonce) throw new Error('a nonce was expected')
      const through = fillOf({ id: 'a', nonce, tombstones: [] }, snapshot('100:100:', present, 150))
      await one.invalidate(write(150), [
        { entity: 'thing', id: 'a', versions: [1], through: { ...through, version: 1 } },
      ])
      expect(await found(two, 'a')).toBe('miss')
    })
  })

  describe('write-through', () => {
    const through = (id: string, nonce: string, under: Snapshot, version = 1) => ({
      ...fillOf({ id, nonce: nonce as never, tombstones: [] }, under, {
        payload: Buffer.from('written'),
      }),
      version,
    })
    const secondDelete = (l2: L2, xid: number, nonce: string, under: Snapshot, versions = [1]) =>
      l2.invalidate(write(xid), [
        { entity: 'thing', id: 'a', versions, through: through('a', nonce, under) },
      ])

    test('the second delete leaves the written value, which sees its own write', async () => {
      const { one, two } = await open()
      await put(two, 'a', upTo(50))
      const [nonce = ''] = await invalidate(one, write(100), ['a'])
      const under = snapshot('98:100:98', present, 100)
      expect((await secondDelete(one, 100, nonce, under)).kind).toBe('dropped')
      const [found] = await two.lookup(thing(), ['a'])
      expect(found).toMatchObject({
        kind: 'fresh',
        stored: { snapshot: under, payload: Buffer.from('written') },
      })
      expect((await lease(two, 'a', { insist: true })).tombstones).toEqual([])
    })

    test('it replaces the values of the other versions by nothing', async () => {
      const { one, two } = await open()
      await put(two, 'a', upTo(50), {}, thing(2))
      const [nonce = ''] = await invalidate(one, write(100), ['a'], [1, 2])
      await secondDelete(one, 100, nonce, snapshot('100:100:', present, 100), [1, 2])
      expect(await found(two, 'a', thing(1))).toBe('written')
      expect(await found(two, 'a', thing(2))).toBe('miss')
    })

    test.each(['', 'another nonce'])('under the nonce "%s" it fills nothing', async (nonce) => {
      const { one, two } = await open()
      await invalidate(one, write(100), ['a'])
      await secondDelete(one, 100, nonce, snapshot('100:100:', present, 100))
      expect(await found(two, 'a')).toBe('miss')
      expect((await lease(two, 'a')).tombstones).toHaveLength(1)
    })

    test('under a fence that was lost since the first delete it fills nothing', async () => {
      const { one, two, evict } = await open()
      const [nonce = ''] = await invalidate(one, write(100), ['a'])
      await evict('fence', 'a')
      await secondDelete(one, 100, nonce, snapshot('100:100:', present, 100))
      expect(await found(two, 'a')).toBe('miss')
      expect((await lease(two, 'a')).tombstones).toEqual([{ ...write(100), merged: false }])
    })

    test('past another write that it does not see it fills nothing', async () => {
      const { one, two } = await open()
      const [nonce = ''] = await invalidate(one, write(100), ['a'])
      await invalidate(two, write(101), ['a'])
      await secondDelete(one, 100, nonce, snapshot('100:100:', present, 100))
      expect(await found(two, 'a')).toBe('miss')
      const leased = await lease(two, 'a')
      expect(await fill(two, fillOf(leased, upTo(101)))).toBe('tombstone')
    })

    test('what a reader loaded since the COMMIT stays', async () => {
      const { one, two } = await open()
      const [nonce = ''] = await invalidate(one, write(100), ['a'])
      await put(two, 'a', upTo(120), { payload: Buffer.from('later') })
      await secondDelete(one, 100, nonce, snapshot('100:100:', present, 100))
      expect(await found(two, 'a')).toBe('later')
    })

    test('what a later write left stays', async () => {
      const { one, two } = await open()
      const [nonce = ''] = await invalidate(one, write(100), ['a'])
      const [later = ''] = await invalidate(two, write(101), ['a'])
      const under = snapshot('101:101:', present, 101)
      await secondDelete(two, 101, later, under)
      await secondDelete(one, 100, nonce, snapshot('100:100:', present, 100))
      const [found] = await one.lookup(thing(), ['a'])
      expect(found).toMatchObject({ stored: { snapshot: under } })
    })

    test('it wakes who waits for the value', async () => {
      const { one, two } = await open()
      await lease(one, 'a')
      expect((await acquire(two, 'a')).kind).toBe('wait')
      const [nonce = ''] = await invalidate(one, write(100), ['a'])
      const woken = two.filled(thing(), 'a', long, new AbortController().signal)
      await secondDelete(one, 100, nonce, snapshot('100:100:', present, 100))
      await woken
      expect(await found(two, 'a')).toBe('written')
    })
  })

  describe('transaction ids', () => {
    const last = Number.MAX_SAFE_INTEGER

    test.each([last - 1, 2 ** 52 + 1, 2 ** 32, 2 ** 31 - 1])(
      'around %i are told apart',
      async (xid) => {
        const { one, two } = await open()
        const leased = await lease(one, 'a')
        await invalidate(two, write(xid), ['a'])
        expect((await lease(one, 'a')).tombstones).toEqual([{ ...write(xid), merged: false }])
        const blind = [upTo(xid), snapshot(`${xid - 2}:${xid + 1}:${xid - 2},${xid}`)]
        for (const under of blind) expect(await fill(one, fillOf(leased, under))).toBe('tombstone')
        const sees = snapshot(`${xid - 1}:${xid + 1}:${xid - 1}`)
        expect(await fill(one, fillOf(leased, sees))).toBe('filled')
        await invalidate(two, write(xid), ['a'])
        expect(await found(two, 'a')).toBe('value of a')
        await invalidate(two, write(xid - 1), ['a'])
        expect(await found(two, 'a')).toBe('miss')
      },
    )

    test('near 2^53 stay exact when there are too many to list', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a')
      for (let back = 41; back > 1; back--) await invalidate(two, write(last - back), ['a'])
      expect((await lease(one, 'a')).tombstones).toContainEqual({
        ...write(last - 2),
        merged: false,
      })
      const unseen = snapshot(`${last - 2}:${last}:${last - 2}`)
      expect(await fill(one, fillOf(leased, unseen))).toBe('tombstone')
      expect(await fill(one, fillOf(leased, upTo(last - 1)))).toBe('filled')
    })

    test('more open transactions than an envelope lists make a value see less, never more', async () => {
      const { one, two } = await open()
      const open_ = Array.from({ length: 1_500 }, (_, index) => 1_000 + 2 * index)
      const under = snapshot(`1000:9000:${open_.join(',')}`)
      await put(one, 'a', under)
      const [found] = await two.lookup(thing(), ['a'])
      if (found?.kind !== 'fresh') throw new Error(`a fresh value was expected, not ${found?.kind}`)
      expect(found.stored.snapshot).toMatchObject({ xmin: 1_000, xmax: 1_000, xip: [] })
    })

    test.each([1_000, 8, 9])('of %i open transactions every single one counts', async (count) => {
      const { one, two } = await open()
      const inProgress = Array.from({ length: count }, (_, index) => 1_000 + 2 * index)
      const own = 999_999
      const under = snapshot(`1000:9000:${inProgress.join(',')}`, present, own)
      await put(one, 'a', under)
      // A write that it sees drops nothing; the last one in progress, and what comes after, does.
      for (const seen of [own, 1_001, 999, 8_999]) await invalidate(two, write(seen), ['a'])
      expect(await found(two, 'a')).toBe('value of a')
      await invalidate(two, write(inProgress.at(-1) as number), ['a'])
      expect(await found(two, 'a')).toBe('miss')
      await put(one, 'b', under)
      await invalidate(two, write(9_000), ['b'])
      expect(await found(two, 'b')).toBe('miss')
    })
  })

  describe('many at once', () => {
    const ids = Array.from({ length: 700 }, (_, index) => `id ${index}`)
    const options = { incarnation: present, leaseMs: long, insist: false }

    test('700 ids are leased, filled, found and dropped, each by its own place', async () => {
      const { one, two } = await open()
      const grants = await one.acquire(thing(), ids, options)
      const leases = grants.map((grant, index) => {
        if (grant.kind !== 'lease') throw new Error(`a lease was expected, not ${grant.kind}`)
        expect(grant.id).toBe(ids[index])
        return grant
      })
      expect(new Set(leases.map(({ nonce }) => nonce)).size).toBe(700)
      const fills = leases.map((one) => fillOf(one, upTo(100)))
      expect(new Set(await one.fill(thing(), fills))).toEqual(new Set(['filled']))
      const lookups = await two.lookup(thing(), ids)
      expect(
        lookups.map((one) => (one.kind === 'fresh' ? String(one.stored.payload) : one.kind)),
      ).toEqual(ids.map((id) => `value of ${id}`))
      const nonces = await invalidate(two, write(100), ids, [1, 2, 3])
      expect(nonces).toHaveLength(700)
      expect(new Set(nonces).size).toBe(700)
      const after = await one.lookup(thing(), ids)
      expect(new Set(after.map(({ kind }) => kind))).toEqual(new Set(['miss']))
    })

    test('700 written values go through, each under its own nonce', async () => {
      const { one, two } = await open()
      const nonces = await invalidate(one, write(100), ids)
      const under = snapshot('100:100:', present, 100)
      const dropped = await one.invalidate(
        write(100),
        ids.map((id, index) => {
          const held = { id, nonce: nonces[index] as never, tombstones: [] }
          return {
            entity: 'thing',
            id,
            versions: [1],
            // Every third has lost its fence.
            through: {
              ...fillOf(index % 3 === 0 ? { ...held, nonce: 'lost' as never } : held, under),
              version: 1,
            },
          }
        }),
      )
      expect(dropped.kind).toBe('dropped')
      const lookups = await two.lookup(thing(), ids)
      expect(
        lookups.map((one) => (one.kind === 'fresh' ? String(one.stored.payload) : one.kind)),
      ).toEqual(ids.map((id, index) => (index % 3 === 0 ? 'miss' : `value of ${id}`)))
    })

    test('700 leases are given back', async () => {
      const { one, two } = await open()
      const grants = await one.acquire(thing(), ids, options)
      await one.release(
        thing(),
        grants.flatMap((grant) => (grant.kind === 'lease' ? grant : [])),
      )
      const again = await two.acquire(thing(), ids, options)
      expect(new Set(again.map(({ kind }) => kind))).toEqual(new Set(['lease']))
    })

    test('700 leases are renewed, each by its own place', async () => {
      const { one, two } = await open()
      const grants = await one.acquire(thing(), ids, { ...options, leaseMs: 5_000 })
      const leases = grants.flatMap((grant) => (grant.kind === 'lease' ? grant : []))
      await one.release(
        thing(),
        leases.filter((_, index) => index % 3 === 0),
      )
      expect(await one.renew(thing(), leases, long)).toEqual(
        ids.map((_, index) => (index % 3 === 0 ? 'lost' : 'held')),
      )
      const after = await two.acquire(thing(), ids, options)
      expect(after.map(({ kind }) => kind)).toEqual(
        ids.map((_, index) => (index % 3 === 0 ? 'lease' : 'wait')),
      )
    })

    test('a fill that is refused stops none of the others', async () => {
      const { one, two } = await open()
      const [a, b, c, d, e] = await Promise.all('abcde'.split('').map((id) => lease(one, id)))
      if (!a || !b || !c || !d || !e) throw new Error('five leases were expected')
      await invalidate(two, write(100), ['b'])
      await put(two, 'f', upTo(300))
      const f = await lease(one, 'f', { insist: true })
      const answers = await one.fill(thing(), [
        fillOf(a, upTo(100)),
        fillOf(b, upTo(100)),
        fillOf(c, upTo(100)),
        fillOf({ ...d, nonce: 'lost' as never }, upTo(100)),
        fillOf(f, upTo(100)),
        fillOf(e, upTo(100)),
      ])
      expect(answers).toEqual([
        'filled',
        'tombstone',
        'filled',
        'nonce-changed',
        'not-covered',
        'filled',
      ])
      expect(await found(two, 'e')).toBe('value of e')
    })

    test('one id twice in one call is one fence', async () => {
      const { one, two } = await open()
      const [first, second] = await one.acquire(thing(), ['a', 'a'], options)
      if (first?.kind !== 'lease' || second?.kind !== 'lease') throw new Error('two leases')
      expect(second.nonce).toBe(first.nonce)
      const [left, right] = await invalidate(two, write(100), ['a', 'a'])
      expect(right).toBe(left)
      const fills = [fillOf(first, upTo(101)), fillOf(second, upTo(101))]
      expect(await one.fill(thing(), fills)).toEqual(['filled', 'nonce-changed'])
    })

    test('nothing is asked for nothing', async () => {
      const { one } = await open()
      expect(await one.acquire(thing(), [], options)).toEqual([])
      expect(await one.fill(thing(), [])).toEqual([])
      expect(await one.invalidate(write(100), [])).toEqual({
        kind: 'dropped',
        nonces: [],
        values: 0,
      })
      expect(await one.renew(thing(), [], long)).toEqual([])
      await one.release(thing(), [])
    })

    test('ids of any text are told apart', async () => {
      const { one, two } = await open()
      const odd = [
        '',
        ' ',
        'ä',
        'a\u0308',
        '{a}',
        '}',
        'a:v1',
        'a:f',
        '__proto__',
        '\n',
        '%s',
        '💶',
      ]
      for (const id of odd) await put(one, id, upTo(100))
      for (const [index, id] of odd.entries()) {
        expect(await found(two, id)).toBe(`value of ${id}`)
        await invalidate(two, write(100 + index), [id])
        expect(await found(one, id)).toBe('miss')
      }
    })
  })

  describe('who waits', () => {
    test('is woken by the fill', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a')
      await acquire(two, 'a')
      const woken = two.filled(thing(), 'a', long, new AbortController().signal)
      expect(await fill(one, fillOf(leased, upTo(100)))).toBe('filled')
      await woken
      expect(await found(two, 'a')).toBe('value of a')
    })

    test('is woken when the lease is given back', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a')
      await acquire(two, 'a')
      const woken = two.filled(thing(), 'a', long, new AbortController().signal)
      await one.release(thing(), [leased])
      await woken
      expect((await acquire(two, 'a')).kind).toBe('lease')
    })

    test('is woken when the fill was refused', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a')
      await acquire(two, 'a')
      const woken = two.filled(thing(), 'a', long, new AbortController().signal)
      await invalidate(two, write(100), ['a'])
      expect(await fill(one, fillOf(leased, upTo(100)))).toBe('tombstone')
      await woken
    })

    test('are woken all of them, in every process', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a')
      await acquire(two, 'a')
      const { signal } = new AbortController()
      const woken = [one, two, two].map((l2) => l2.filled(thing(), 'a', long, signal))
      await fill(one, fillOf(leased, upTo(100)))
      await Promise.all(woken)
    })

    test('goes on at once when it was woken before it began to wait', async () => {
      const { one, two } = await open()
      const leased = await lease(one, 'a')
      const { signal } = new AbortController()
      await acquire(two, 'a')
      const woken = two.filled(thing(), 'a', long, signal)
      await fill(one, fillOf(leased, upTo(100)))
      await woken
      await two.filled(thing(), 'a', long, signal)
    })

    test('goes on after its poll when nobody wakes it', async () => {
      const { two } = await open()
      await two.filled(thing(), 'a', 5, new AbortController().signal)
    })

    test('goes on at once when its signal aborts, before or while it waits', async () => {
      const { two } = await open()
      const leaving = new AbortController()
      const waiting = two.filled(thing(), 'a', long, leaving.signal)
      leaving.abort()
      await waiting
      await two.filled(thing(), 'a', long, AbortSignal.abort())
    })
  })

  test('the order of writes and their repetitions does not matter', async () => {
    const { one, two } = await open()
    const outcomes = new Set<string>()
    for (const order of [
      [100, 105, 103],
      [105, 100, 103, 105],
      [103, 105, 100, 100],
    ]) {
      const id = order.join()
      const leased = await lease(one, id)
      for (const xid of order) await invalidate(two, write(xid), [id])
      const answers: string[] = []
      for (const under of ['100:106:100', '103:106:103', '105:105:', '106:106:']) {
        answers.push(await fill(one, fillOf(leased, snapshot(under))))
      }
      outcomes.add(answers.join())
    }
    expect([...outcomes]).toEqual(['tombstone,tombstone,tombstone,filled'])
  })
})
