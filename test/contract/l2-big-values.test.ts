/** Big values in every implementation of L2: how each lies there, and the verdict that one is too big to. */
import { describe, expect, test } from 'vitest'
import type { Form, L2 } from '../../src/model/l2-port.ts'
import { until } from '../support/world.ts'
import { l2Rigs } from './l2-rigs.ts'
import {
  acquire,
  changes,
  fill,
  fillOf,
  former,
  invalidate,
  lease,
  put,
  restore,
  snapshot,
  thing,
  upTo,
  write,
} from './words.ts'

const tooBig = { payload: undefined, form: 'too-big', graceMs: 0 } as const

/** What lies there: its form, or the kind of the answer. */
async function formOf(l2: L2, id: string): Promise<Form | string | undefined> {
  const [lookup] = await l2.lookup(thing(), [id])
  if (lookup?.kind !== 'fresh') return lookup?.kind
  return lookup.stored.form
}

describe.each(l2Rigs)('big values in %s', (_name, open) => {
  test('a form comes back with the value, to who looks and to who acquires', async () => {
    const { one, two } = await open()
    const payload = Buffer.from([0, 0, 0, 9, 255, 0, 13, 10])
    await put(one, 'a', upTo(100), { payload, form: 'compressed' })
    const stored = { payload, form: 'compressed', snapshot: upTo(100) }
    expect(await two.lookup(thing(), ['a'])).toMatchObject([{ kind: 'fresh', stored }])
    expect(await acquire(two, 'a')).toMatchObject({ kind: 'value', stored })
    await put(one, 'a', upTo(101))
    expect(await formOf(two, 'a')).toBeUndefined()
  })

  test('the verdict is kept without a payload, under its snapshot', async () => {
    const { one, two } = await open()
    const under = snapshot('100:120:100,103,119', undefined, 110)
    await put(one, 'a', under, { ...tooBig, payload: Buffer.alloc(1_000) })
    const stored = { payload: undefined, form: 'too-big', snapshot: under }
    expect(await two.lookup(thing(), ['a'])).toMatchObject([{ kind: 'fresh', stored }])
    expect(await acquire(two, 'a')).toMatchObject({ kind: 'value', stored })
    expect(await acquire(two, 'a', { insist: true })).toMatchObject({ kind: 'lease' })
  })

  test('the verdict is dropped by a write that it does not see, and stays under one that it sees', async () => {
    const { one, two } = await open()
    await put(one, 'a', upTo(100), tooBig)
    await invalidate(two, write(99), ['a'])
    expect(await formOf(one, 'a')).toBe('too-big')
    await invalidate(two, write(100), ['a'])
    expect(await formOf(one, 'a')).toBe('miss')
  })

  test('the verdict is kept out by a tombstone that it does not see, and passes one that it sees', async () => {
    const { one, two } = await open()
    const early = await lease(one, 'a')
    await invalidate(two, write(100), ['a'])
    expect(await fill(one, fillOf(early, upTo(100), tooBig))).toBe('tombstone')
    expect(await formOf(two, 'a')).toBe('miss')
    expect(await fill(one, fillOf(await lease(one, 'a'), upTo(101), tooBig))).toBe('filled')
    expect(await formOf(two, 'a')).toBe('too-big')
  })

  test('the verdict is kept out once its fence is gone', async () => {
    const { one, evict } = await open()
    const early = await lease(one, 'a')
    await evict('fence', 'a')
    expect(await fill(one, fillOf(early, upTo(100), tooBig))).toBe('nonce-changed')
    await lease(one, 'a')
    expect(await fill(one, fillOf(early, upTo(100), tooBig))).toBe('nonce-changed')
  })

  test('neither verdict nor value takes the place of what sees more', async () => {
    const { one } = await open()
    await put(one, 'a', upTo(200), tooBig)
    const late = await lease(one, 'a', { insist: true })
    expect(await fill(one, fillOf(late, upTo(100)))).toBe('not-covered')
    expect(await formOf(one, 'a')).toBe('too-big')
    await put(one, 'b', upTo(200))
    const other = await lease(one, 'b', { insist: true })
    expect(await fill(one, fillOf(other, upTo(100), tooBig))).toBe('not-covered')
    expect(await formOf(one, 'b')).toBeUndefined()
  })

  test('the verdict gives way to a value that sees as much, and the other way round', async () => {
    const { one } = await open()
    await put(one, 'a', upTo(100), tooBig)
    await put(one, 'a', upTo(100))
    expect(await formOf(one, 'a')).toBeUndefined()
    await put(one, 'a', upTo(100), tooBig)
    expect(await formOf(one, 'a')).toBe('too-big')
  })

  test('past its ttl the verdict is gone: one loads anew, and the others wait', async () => {
    const { one, two } = await open()
    await put(one, 'a', upTo(100), { ...tooBig, ttlMs: 20 })
    await until('it is gone', async () => (await formOf(two, 'a')) === 'miss')
    await lease(one, 'a')
    expect((await acquire(two, 'a')).kind).toBe('wait')
  })

  test('a verdict of another incarnation is no answer to a lease', async () => {
    const { one } = await open()
    await put(one, 'a', upTo(100, former), tooBig)
    expect((await acquire(one, 'a')).kind).toBe('lease')
  })

  test('a write-through may leave the verdict, in the call of the drop', async () => {
    const { one, two } = await open()
    await put(one, 'a', upTo(100))
    const [nonce] = await invalidate(one, write(150), ['a'])
    const through = {
      ...fillOf({ id: 'a', nonce: nonce as never, tombstones: [] }, upTo(100), tooBig),
      snapshot: snapshot('100:100:', undefined, 150),
      version: 1,
    }
    await one.invalidate(write(150), [{ entity: 'thing', id: 'a', versions: [1], through }])
    expect(await formOf(two, 'a')).toBe('too-big')
    await invalidate(two, write(150), ['a'])
    expect(await formOf(two, 'a')).toBe('too-big')
    await invalidate(two, write(151), ['a'])
    expect(await formOf(two, 'a')).toBe('miss')
  })

  test('who waits for a fill is woken by the verdict', async () => {
    const { one, two } = await open()
    const leased = await lease(one, 'a')
    expect((await acquire(two, 'a')).kind).toBe('wait')
    const woken = two.filled(thing(), 'a', 60_000, new AbortController().signal)
    expect(await fill(one, fillOf(leased, upTo(100), tooBig))).toBe('filled')
    await woken
    expect(await formOf(two, 'a')).toBe('too-big')
  })

  test('a verdict of a former generation is a miss', async () => {
    const { one, two } = await open()
    await put(one, 'a', upTo(100), tooBig)
    const changed = await changes(one, upTo(150))
    expect(await restore(one, changed, upTo(150), upTo(140))).toEqual(['written'])
    expect(await two.lookup(thing(), ['a'])).toEqual([{ kind: 'miss', why: 'outlived' }])
    expect((await acquire(two, 'a')).kind).toBe('lease')
  })
})
