/**
 * Bloom filters in L2 (DESIGN §8, I6), on every implementation. That a server is another one is played
 * here by a header of another; OOM and real failovers are in `filters-redis.test.ts`.
 */
import { describe, expect, test } from 'vitest'
import { headerBytes, seedMark, seedOf, shapeFor } from '../../src/model/bloom.ts'
import { parseXid } from '../../src/model/snapshot.ts'
import {
  begun,
  bitsIn,
  built,
  currentSlot,
  headerAt,
  partOf,
  progress,
  proven,
  type Rig,
  rewriteHeader,
  says,
  shape,
  start,
  statusOf,
} from './filter-words.ts'
import { l2Rigs } from './l2-rigs.ts'
import { former, found, invalidate, present, proves, put, thing, upTo, write } from './words.ts'

const elsewhere = '0'.repeat(20)
const ids = Array.from({ length: 40 }, (_, index) => `id ${index}`)

describe.each(l2Rigs)('the filters of L2 in %s', (_name, openRig) => {
  /** With a filter of `ids` that answers beside a barrier. */
  async function open(): Promise<Rig & { generation: number }> {
    const rig = await openRig()
    const generation = await built(rig.filters.one, ids)
    await proven(rig)
    return { ...rig, generation }
  }

  describe('a lookup that asks', () => {
    test('refuses an id that the newest filter does not have, as of the barrier beside it', async () => {
      const { one, two, generation } = await open()
      for (const l2 of [one, two]) {
        const lookups = await l2.lookup(thing(), ['none', 'id 0'], [true, true])
        expect(lookups).toEqual([
          { kind: 'refused', refusal: { barrier: upTo(100), generation } },
          { kind: 'miss', why: 'absent' },
        ])
      }
    })

    test('has a "maybe" for every id that was scanned', async () => {
      const { two } = await open()
      expect(new Set(await says(two, ids))).toEqual(new Set(['miss']))
    })

    test('asks of none but those that are to be asked of', async () => {
      const { one } = await open()
      const lookups = await one.lookup(thing(), ['none', 'nobody', 'nothing'], [false, true, false])
      expect(lookups.map(({ kind }) => kind)).toEqual(['miss', 'refused', 'miss'])
      expect(await one.lookup(thing(), ['none'])).toEqual([{ kind: 'miss', why: 'absent' }])
      expect(await one.lookup(thing(), ['none'], [false])).toEqual([
        { kind: 'miss', why: 'absent' },
      ])
    })

    test('answers a value where one lies, whatever the filter says', async () => {
      const { one } = await open()
      await put(one, 'none', upTo(90))
      await put(one, 'late', upTo(90), { ttlMs: 1, ageMs: 10 })
      const lookups = await one.lookup(thing(), ['none', 'late'], [true, true])
      expect(lookups.map(({ kind }) => kind)).toEqual(['fresh', 'stale'])
    })

    test('answers what lies there where it is no value or one of before', async () => {
      const { one } = await open()
      await put(one, 'none', upTo(90), { ttlMs: 1, ageMs: 10 })
      const lookups = await one.lookup(thing(1, 0), ['none'], [true])
      expect(lookups).toEqual([{ kind: 'miss', why: 'absent' }])
    })

    test('asks of thousands', async () => {
      const { one } = await open()
      const many = Array.from({ length: 2_500 }, (_, index) =>
        index % 50 === 0 ? `id ${index / 50 < 40 ? index / 50 : 0}` : `none ${index}`,
      )
      const kinds = await says(one, many)
      expect(kinds.filter((kind) => kind === 'refused').length).toBeGreaterThan(2_400)
      for (const [index, id] of many.entries()) {
        if (id.startsWith('id')) expect(kinds[index]).toBe('miss')
      }
    })

    test('refuses nothing before a barrier lies there', async () => {
      const rig = await openRig()
      await built(rig.filters.one, ids)
      expect(await says(rig.one, ['none'])).toEqual(['miss'])
      await proven(rig)
      expect(await says(rig.one, ['none'])).toEqual(['refused'])
    })

    test('refuses nothing while the server may have forgotten what it was told', async () => {
      const rig = await open()
      await rig.rewrite((record) => ({ ...record, isValid: false }))
      expect(await says(rig.one, ['none'])).toEqual(['miss'])
      await rig.rewrite(() => undefined)
      expect(await says(rig.one, ['none'])).toEqual(['miss'])
    })

    test('refuses nothing by a filter that does not cover what values have to cover', async () => {
      const rig = await open()
      // The scan began when all below 100 had ended.
      await rig.rewrite((record) => ({ ...record, generation: upTo(101) }))
      expect(await says(rig.one, ['none'])).toEqual(['miss'])
      expect((await statusOf(rig.filters.one)).isOutlived).toBe(true)
      await rig.rewrite((record) => ({ ...record, generation: upTo(100) }))
      expect(await says(rig.one, ['none'])).toEqual(['refused'])
      expect((await statusOf(rig.filters.one)).isOutlived).toBe(false)
      await rig.rewrite((record) => ({ ...record, generation: upTo(5, former) }))
      expect(await says(rig.one, ['none'])).toEqual(['miss'])
    })

    test('refuses nothing by a filter of another life of the database', async () => {
      const rig = await open()
      await rewriteHeader(rig, await currentSlot(rig), { incarnation: former })
      expect(await says(rig.one, ['none'])).toEqual(['miss'])
      expect((await statusOf(rig.filters.one)).isOutlived).toBe(true)
    })
  })

  describe('what is no filter says "maybe", and is not added to', () => {
    async function isNone(
      rig: Rig & { generation: number },
      change: (bytes: Buffer) => Buffer,
    ): Promise<void> {
      const slot = await currentSlot(rig)
      const changed = change((await rig.bitmap(slot)) as Buffer)
      await rig.putBitmap(slot, changed)
      expect(await says(rig.one, ['none'])).toEqual(['miss'])
      expect((await statusOf(rig.filters.one)).current).toBeUndefined()
      const { one } = rig.filters
      expect(await one.missing('thing', rig.generation, ['none'])).toEqual([false])
      await invalidate(rig.one, write(110), ['new'])
      expect((await rig.bitmap(slot))?.length).toBe(changed.length)
    }

    test('nothing at all: it is not created', async () => {
      const rig = await open()
      const slot = await currentSlot(rig)
      await rig.putBitmap(slot, undefined)
      expect(await says(rig.one, ['none'])).toEqual(['miss'])
      await invalidate(rig.one, write(110), ['new'])
      expect(await rig.bitmap(0)).toBeUndefined()
      expect(await rig.bitmap(1)).toBeUndefined()
    })

    test('one that is shorter than its header says', async () => {
      await isNone(await open(), (bytes) => bytes.subarray(0, -1))
    })

    test('one that is longer', async () => {
      await isNone(await open(), (bytes) => Buffer.concat([bytes, Buffer.alloc(1)]))
    })

    test('less than a header', async () => {
      await isNone(await open(), (bytes) => bytes.subarray(0, headerBytes - 1))
    })

    test('other bytes', async () => {
      await isNone(await open(), (bytes) => Buffer.alloc(bytes.length, 7))
    })

    test('a header whose check does not fit', async () => {
      await isNone(await open(), (bytes) => {
        const damaged = Buffer.from(bytes)
        damaged[20] = (damaged[20] as number) ^ 1
        return damaged
      })
    })

    test('one of another seed', async () => {
      const rig = await open()
      const slot = await currentSlot(rig)
      const seed = seedMark(seedOf('another database', 'shop', 'thing'))
      await rewriteHeader(rig, slot, { seed })
      const before = await rig.bitmap(slot)
      expect(await says(rig.one, ['none'])).toEqual(['miss'])
      await invalidate(rig.one, write(110), ['new'])
      expect(await rig.bitmap(slot)).toEqual(before)
    })
  })

  describe('an invalidation', () => {
    test('adds its ids to the filter that answers, whoever sends it', async () => {
      const { one, two } = await open()
      expect(await says(one, ['new', 'none'])).toEqual(['refused', 'refused'])
      await invalidate(two, write(110), ['new'])
      expect(await says(one, ['new', 'none'])).toEqual(['miss', 'refused'])
    })

    test('adds to the one that is being built too', async () => {
      const { one, filters } = await open()
      const build = await begun(filters.one)
      await invalidate(one, write(110), ['new'])
      expect(await says(one, ['new', 'none'])).toEqual(['miss', 'refused'])
      const asked = ['new', 'none', 'id 0']
      expect(await filters.two.missing('thing', build.generation, asked)).toEqual([
        false,
        true,
        true,
      ])
      await filters.one.started(build, start)
      await filters.one.merge(build, partOf(filters.one, build, ids), progress)
      await invalidate(one, write(111), ['newer'])
      await filters.one.finish(build)
      expect(await says(one, ['new', 'newer', 'none'])).toEqual(['miss', 'miss', 'refused'])
    })

    test('adds hundreds of ids, of several entities', async () => {
      const { one } = await open()
      const some = Array.from({ length: 700 }, (_, index) => `new ${index}`)
      const drops = some.flatMap((id) => [
        { entity: 'thing', id, versions: [1] },
        { entity: 'other', id, versions: [1] },
      ])
      expect((await one.invalidate(write(110), drops)).kind).toBe('dropped')
      expect(new Set(await says(one, some))).toEqual(new Set(['miss']))
    })

    test('adds where nobody is told, and where the value sees the write already', async () => {
      const { one } = await open()
      await put(one, 'seen', upTo(120))
      const drops = [{ entity: 'thing', id: 'quiet', versions: [1] }]
      await one.invalidate(write(110), drops, { quiet: true })
      await invalidate(one, write(110), ['seen'])
      expect(await says(one, ['quiet', 'none'])).toEqual(['miss', 'refused'])
      expect(await found(one, 'seen')).toBe('value of seen')
    })

    test('counts the bits that it sets, once', async () => {
      const rig = await open()
      const slot = await currentSlot(rig)
      const counted = async () => (await headerAt(rig, slot))?.setBits
      const before = (await rig.bitmap(slot)) as Buffer
      expect(await counted()).toBe(bitsIn(before))
      await invalidate(rig.one, write(110), ['id 0', 'id 1'])
      expect(await rig.bitmap(slot)).toEqual(before)
      for (let more = 0; more < 5; more++) {
        await invalidate(rig.one, write(111), [`new ${more}`, `newer ${more}`, 'id 3'])
        const bytes = (await rig.bitmap(slot)) as Buffer
        expect(await counted()).toBe(bitsIn(bytes))
      }
      expect(await counted()).toBeGreaterThan(bitsIn(before))
    })

    test('sets the bits that the model says, and no other', async () => {
      const rig = await openRig()
      const build = await begun(rig.filters.one)
      const texts = ['', 'a', '17', 'Zürich', '😀', 'x'.repeat(300), '\u0000', '9007199254740993']
      await invalidate(rig.one, write(110), texts)
      const [slot] = (await headerAt(rig, 0)) ? ([0] as const) : ([1] as const)
      const bytes = (await rig.bitmap(slot)) as Buffer
      expect(bytes.subarray(headerBytes)).toEqual(partOf(rig.filters.one, build, texts))
    })
  })

  describe('either key may be evicted', () => {
    test('the one that answers: all is "maybe" until the next is built', async () => {
      const rig = await open()
      const slot = await currentSlot(rig)
      const build = await begun(rig.filters.one)
      await rig.putBitmap(slot, undefined)
      expect(await says(rig.one, ['none'])).toEqual(['miss'])
      await rig.filters.one.started(build, start)
      await rig.filters.one.finish(build)
      expect(await says(rig.one, ['none'])).toEqual(['refused'])
    })

    test('the one that is built: the other goes on, and the build is lost', async () => {
      const rig = await open()
      const slot = await currentSlot(rig)
      const build = await begun(rig.filters.one)
      await rig.putBitmap(slot === 0 ? 1 : 0, undefined)
      expect(await says(rig.one, ['none'])).toEqual(['refused'])
      await invalidate(rig.one, write(110), ['new'])
      expect(await rig.bitmap(slot === 0 ? 1 : 0)).toBeUndefined()
      const { one } = rig.filters
      const part = partOf(one, build, ids)
      expect(await one.renew(build, 9_000)).toEqual({ kind: 'lost' })
      expect(await one.started(build, start)).toEqual({ kind: 'lost' })
      expect(await one.merge(build, part, progress)).toEqual({ kind: 'lost' })
      expect(await one.finish(build)).toEqual({ kind: 'lost' })
      expect(await rig.bitmap(slot === 0 ? 1 : 0)).toBeUndefined()
      expect(await says(rig.one, ['none', 'new', 'id 0'])).toEqual(['refused', 'miss', 'miss'])
    })

    test('the record of the build: it is lost, and the next begins anew', async () => {
      const rig = await open()
      const build = await begun(rig.filters.one)
      await rig.evictBuild()
      expect(await rig.filters.one.finish(build)).toEqual({ kind: 'lost' })
      const next = await begun(rig.filters.two)
      expect(next.generation).toBeGreaterThan(build.generation)
      expect(await says(rig.one, ['none'])).toEqual(['refused'])
    })
  })

  describe('a build', () => {
    test('has a larger generation each time, and does not answer before it is finished', async () => {
      const rig = await open()
      const build = await begun(rig.filters.one)
      expect(build).toMatchObject({ entity: 'thing', ...shape })
      expect(build.generation).toBeGreaterThan(rig.generation)
      const { current, building } = await statusOf(rig.filters.two)
      expect(current?.generation).toBe(rig.generation)
      expect(building).toMatchObject({
        ...{ generation: build.generation, isReady: false, isHeld: true },
        ...{ cursor: undefined, scanned: 0, expected: 200 },
      })
      await rig.filters.one.started(build, start)
      await rig.filters.one.finish(build)
      const after = await statusOf(rig.filters.two)
      expect(after.current).toMatchObject({
        ...{ generation: build.generation, isReady: true, setBits: 0 },
        ...{ incarnation: present, xid: 100 },
      })
      expect(after.building).toBeUndefined()
      expect([await rig.bitmap(0), await rig.bitmap(1)]).toContain(undefined)
    })

    test('merges parts, each with how far the scan is', async () => {
      const { filters } = await openRig()
      const { one } = filters
      const build = await begun(one)
      await one.started(build, start)
      const parts = [ids.slice(0, 20), ids.slice(20), []]
      for (const [nth, some] of parts.entries()) {
        const at = { cursor: `cursor ${nth} ünd "so"`, scanned: nth, expected: 7 }
        expect(await one.merge(build, partOf(one, build, some), at)).toEqual({ kind: 'done' })
        expect((await statusOf(one)).building).toMatchObject(at)
      }
      expect(await one.missing('thing', build.generation, [...ids, 'none'])).toEqual([
        ...ids.map(() => false),
        true,
      ])
      await one.finish(build)
      const { current } = await statusOf(one)
      expect(current?.setBits).toBe(
        bitsIn(Buffer.concat([Buffer.alloc(headerBytes), partOf(one, build, ids)])),
      )
    })

    test('merges a part of more than a piece', async () => {
      const rig = await openRig()
      const { one } = rig.filters
      const large = shapeFor(2_000_000, 0.01)
      const build = await begun(one, 9_000, large)
      await one.started(build, start)
      const part = partOf(one, build, ids)
      expect(part.length).toBeGreaterThan(2 ** 21)
      expect(await one.merge(build, part, progress)).toEqual({ kind: 'done' })
      await one.finish(build)
      const { generation } = build
      const pieces: Buffer[] = []
      for (let offset = 0; offset < part.length; offset += 1_000_000) {
        pieces.push((await one.read('thing', generation, offset, 1_000_000)) as Buffer)
      }
      expect(Buffer.concat(pieces).equals(part)).toBe(true)
    })

    test('refuses a part of another size', async () => {
      const { filters } = await openRig()
      const build = await begun(filters.one)
      await expect(async () => filters.one.merge(build, Buffer.alloc(3), progress)).rejects.toThrow(
        '3 bytes',
      )
    })

    test('is held by one builder at a time', async () => {
      const { filters } = await openRig()
      const build = await begun(filters.one)
      expect(await filters.two.begin('thing', shape, 200, 9_000)).toEqual({ kind: 'held' })
      expect(await filters.one.begin('thing', shape, 200, 9_000)).toEqual({ kind: 'held' })
      expect(await filters.one.renew(build, 9_000)).toEqual({ kind: 'done' })
      const stranger = { ...build, owner: 'somebody' }
      expect(await filters.one.renew(stranger, 9_000)).toEqual({ kind: 'lost' })
      expect(await filters.one.finish(stranger)).toEqual({ kind: 'lost' })
    })

    test('that was left is gone on with, from where it was', async () => {
      const rig = await openRig()
      const { one, two } = rig.filters
      const build = await begun(one)
      await one.started(build, start)
      await one.merge(build, partOf(one, build, ids), progress)
      expect(await one.renew(build, 0)).toEqual({ kind: 'done' })
      expect((await statusOf(two)).building?.isHeld).toBe(false)
      await invalidate(rig.one, write(110), ['new'])
      const answer = await two.begin('thing', shape, 999, 9_000)
      expect(answer).toEqual({
        kind: 'resumed',
        build: { ...build, owner: expect.any(String) },
        start,
        progress,
      })
      if (answer.kind !== 'resumed') return
      expect(answer.build.owner).not.toBe(build.owner)
      expect(await one.merge(build, partOf(one, build, []), progress)).toEqual({ kind: 'lost' })
      expect(await one.finish(build)).toEqual({ kind: 'lost' })
      expect(await two.finish(answer.build)).toEqual({ kind: 'done' })
      await proven(rig)
      expect(await says(rig.one, [...ids.slice(0, 3), 'new', 'none'])).toEqual([
        ...['miss', 'miss', 'miss', 'miss', 'refused'],
      ])
    })

    test('is gone on with when its lease has lapsed by itself', async () => {
      const { filters } = await openRig()
      const build = await begun(filters.one, 40)
      await filters.one.started(build, start)
      await expect
        .poll(async () => (await filters.two.begin('thing', shape, 200, 9_000)).kind)
        .toBe('resumed')
    })

    test('is gone on with for about as many ids, in the shape that it has', async () => {
      const { filters } = await openRig()
      const build = await begun(filters.one)
      await filters.one.started(build, start)
      await filters.one.renew(build, 0)
      const answer = await filters.two.begin('thing', shapeFor(210, 0.001), 210, 9_000)
      expect(answer).toMatchObject({ kind: 'resumed', build: shape })
    })

    test.each([
      ['for many more ids', shapeFor(300, 0.001)],
      ['for far fewer ids', shapeFor(90, 0.001)],
      ['for another rate', shapeFor(200, 0.01)],
    ])('is not gone on with %s', async (_what, other) => {
      const { filters } = await openRig()
      const build = await begun(filters.one)
      await filters.one.started(build, start)
      await filters.one.renew(build, 0)
      const next = await begun(filters.two, 9_000, other)
      expect(next).toMatchObject(other)
      expect(next.generation).toBeGreaterThan(build.generation)
      expect(await filters.one.finish(build)).toEqual({ kind: 'lost' })
    })

    test('whose scan had not begun begins anew', async () => {
      const { filters } = await openRig()
      const build = await begun(filters.one)
      await filters.one.renew(build, 0)
      expect((await begun(filters.two)).generation).toBeGreaterThan(build.generation)
    })

    test('is lost on another server, and begins anew', async () => {
      const rig = await open()
      const { one } = rig.filters
      const slot = (await currentSlot(rig)) === 0 ? 1 : 0
      const build = await begun(one)
      await one.started(build, start)
      await rewriteHeader(rig, slot, { identity: elsewhere })
      const part = partOf(one, build, ids)
      expect(await one.renew(build, 0)).toEqual({ kind: 'lost' })
      expect(await one.merge(build, part, progress)).toEqual({ kind: 'lost' })
      expect(await one.finish(build)).toEqual({ kind: 'lost' })
      expect((await headerAt(rig, slot))?.isReady).toBe(false)
      expect(await says(rig.one, ['none'])).toEqual(['refused'])
    })

    test('that was left on another server begins anew', async () => {
      const rig = await openRig()
      const build = await begun(rig.filters.one)
      await rig.filters.one.started(build, start)
      await rig.filters.one.renew(build, 0)
      await rewriteHeader(rig, (await headerAt(rig, 0)) ? 0 : 1, { identity: elsewhere })
      expect((await begun(rig.filters.two)).generation).toBeGreaterThan(build.generation)
    })

    test('is lost when its header is damaged', async () => {
      const rig = await openRig()
      const build = await begun(rig.filters.one)
      const slot = (await headerAt(rig, 0)) ? 0 : 1
      const bytes = (await rig.bitmap(slot)) as Buffer
      bytes[30] = (bytes[30] as number) ^ 1
      await rig.putBitmap(slot, bytes)
      expect(await rig.filters.one.finish(build)).toEqual({ kind: 'lost' })
    })

    test('that is abandoned leaves nothing, and its lease is free', async () => {
      const rig = await open()
      const build = await begun(rig.filters.one)
      await rig.filters.two.abandon({ ...build, owner: 'somebody' })
      expect(await rig.filters.one.renew(build, 9_000)).toEqual({ kind: 'done' })
      await rig.filters.one.abandon(build)
      expect(await rig.filters.one.renew(build, 9_000)).toEqual({ kind: 'lost' })
      expect((await statusOf(rig.filters.two)).building).toBeUndefined()
      expect([await rig.bitmap(0), await rig.bitmap(1)]).toContain(undefined)
      expect(await says(rig.one, ['none', 'id 0'])).toEqual(['refused', 'miss'])
      await begun(rig.filters.two)
    })
  })

  test('a wish for a build lies there until one begins', async () => {
    const { filters } = await openRig()
    expect((await statusOf(filters.one)).isRequested).toBe(false)
    expect(await filters.one.request('thing')).toEqual({ kind: 'done' })
    expect((await statusOf(filters.two)).isRequested).toBe(true)
    await begun(filters.two)
    expect((await statusOf(filters.one)).isRequested).toBe(false)
  })

  test('bytes are read of the filter that answers, and of no other', async () => {
    const { filters, generation } = await open()
    const { one } = filters
    const whole = (await one.read('thing', generation, 0, 10_000)) as Buffer
    expect(whole).toEqual(partOf(one, { ...shape, entity: 'thing', generation, owner: '' }, ids))
    expect(await one.read('thing', generation, 3, 5)).toEqual(whole.subarray(3, 8))
    const build = await begun(one)
    expect(await one.read('thing', build.generation, 0, 5)).toBeUndefined()
    expect(await one.read('thing', generation - 1, 0, 5)).toBeUndefined()
    expect(await one.read('another', generation, 0, 5)).toBeUndefined()
  })

  test('an xid near 2^53 stays exact', async () => {
    const rig = await openRig()
    const { one } = rig.filters
    const build = await begun(one)
    const xid = parseXid('9007199254740991')
    await one.started(build, { incarnation: present, xid })
    await one.renew(build, 0)
    const answer = await one.begin('thing', shape, 200, 9_000)
    expect(answer).toMatchObject({ kind: 'resumed', start: { incarnation: present, xid } })
    if (answer.kind === 'resumed') await one.finish(answer.build)
    expect((await statusOf(one)).current?.xid).toBe(xid)
  })

  test('a barrier that sees more is what a "no" is as of', async () => {
    const { one } = await open()
    await proves(one, upTo(200))
    const [lookup] = await one.lookup(thing(), ['none'], [true])
    expect(lookup?.kind === 'refused' && lookup.refusal.barrier).toEqual(upTo(200))
  })
})
