/** What an instance applies, and when: over stores in memory. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { checkedSet, checkedUnset, type FlagName } from '../../../src/model/flags.ts'
import { silent } from '../../../src/model/log.ts'
import { Flags } from '../../../src/operations/flags.ts'
import { MemoryFlagMirror, MemoryFlags } from '../../../src/testing/memory-flags.ts'
import { VirtualClock } from '../../support/clock.ts'

const down = new Error('no answer')
const given = { for: '10m', reason: 'why' } as const

let clock: VirtualClock
let store: MemoryFlags
let mirror: MemoryFlagMirror
let open: Flags[]
/** What was told, as `set fill.off`. */
let told: string[]
beforeEach(() => {
  clock = new VirtualClock()
  store = new MemoryFlags(clock)
  mirror = new MemoryFlagMirror(clock)
  open = []
  told = []
})
afterEach(async () => {
  const closed = Promise.all(open.map((flags) => flags.close()))
  await clock.settle()
  await closed
  expect(clock.timers).toBe(0)
})

async function start(
  instance = 'one',
  override: readonly FlagName[] = [],
  entities: readonly string[] = ['city'],
): Promise<Flags> {
  const flags = new Flags({
    ...{ store, mirror, instance, entities, override, clock, log: silent },
    isRelaying: () => instance === 'relay',
    changed: ({ state, flag }) => void told.push(`${state} ${flag}`),
  })
  open.push(flags)
  await flags.start()
  return flags
}

const put = (flag: FlagName, options: Partial<Parameters<typeof checkedSet>[1]> = {}) =>
  store.change([checkedSet(flag, { ...given, ...options }, 'me')])
const remove = (flag: FlagName) => store.change([checkedUnset(flag, {}, 'me')])

test('what is set before the start is applied from the first moment', async () => {
  await put('l2.bypass')
  const flags = await start()
  expect(flags.switchesOf('city')['l2.bypass']).toBe(true)
  expect(flags.switchesOf('city')['l1.bypass']).toBe(false)
  expect(told).toEqual(['set l2.bypass'])
})

test('it looks every two seconds, and at once when it is told to', async () => {
  const flags = await start()
  await put('fill.off')
  await clock.advance(1_000)
  expect(flags.isSet('fill.off')).toBe(false)
  await clock.advance(1_000)
  expect(flags.isSet('fill.off')).toBe(true)
  await remove('fill.off')
  await mirror.announce()
  await clock.advance(50)
  expect(flags.isSet('fill.off')).toBe(false)
  expect(told).toEqual(['set fill.off', 'unset fill.off'])
})

test('an end is noticed to the moment, whoever can be asked', async () => {
  await put('fill.off', { for: '5s' })
  const flags = await start()
  store.down = down
  mirror.down = down
  await clock.advance(4_999)
  expect(flags.isSet('fill.off')).toBe(true)
  await clock.advance(1)
  expect(flags.isSet('fill.off')).toBe(false)
  expect(told).toEqual(['set fill.off', 'expired fill.off'])
})

test('only what concerns it: its entities, its instance', async () => {
  const flags = await start()
  await put('fill.off', { entity: 'country' })
  await put('refresh.off', { instance: 'other' })
  await put('l1.bypass', { entity: 'city', instance: 'one' })
  await clock.advance(2_000)
  expect(flags.active.map(({ flag }) => flag)).toEqual(['l1.bypass'])
  expect(flags.isSet('l1.bypass', 'city')).toBe(true)
  expect(flags.isSet('l1.bypass')).toBe(false)
  expect(await store.reports()).toEqual([{ instance: 'one', applied: ['l1.bypass|city|one'] }])
})

test('a flag of one entity that ends leaves the one for all', async () => {
  const flags = await start()
  await put('fill.off')
  await put('fill.off', { entity: 'city', for: '3s' })
  await clock.advance(2_000)
  await clock.advance(2_000)
  expect(flags.switchesOf('city')['fill.off']).toBe(true)
  expect(told).toEqual(['set fill.off', 'set fill.off', 'expired fill.off'])
})

test('without PostgreSQL the mirror tells, unless what it has is older', async () => {
  await start('relay')
  const flags = await start()
  await put('fill.off')
  await clock.advance(2_000)
  expect((await mirror.read())?.flags).toHaveLength(1)
  store.down = down
  await mirror.change([checkedSet('serve.stale', given, 'me')])
  await clock.advance(2_000)
  expect(flags.active).toMatchObject([
    { flag: 'fill.off', from: 'redis' },
    { flag: 'serve.stale', from: 'redis' },
  ])
  store.down = undefined
  await clock.advance(2_000)
  expect(flags.active).toMatchObject([{ flag: 'fill.off', from: 'postgres' }])
  // Set and told here, and the mirror has not been told.
  mirror.down = down
  await put('l1.bypass')
  await clock.advance(2_000)
  store.down = down
  mirror.down = undefined
  await clock.advance(2_000)
  expect(flags.isSet('l1.bypass')).toBe(true)
})

test('cut off from both it goes on with what it knows', async () => {
  await put('fill.off')
  const flags = await start()
  store.down = down
  mirror.down = down
  await clock.advance(60_000)
  expect(flags.isSet('fill.off')).toBe(true)
})

test('an override cannot be unset, and is reported as such', async () => {
  const flags = await start('one', ['l2.bypass'])
  await put('l2.bypass')
  await clock.advance(2_000)
  await remove('l2.bypass')
  await clock.advance(2_000)
  expect(flags.switchesOf('city')['l2.bypass']).toBe(true)
  expect(flags.active).toMatchObject([{ by: 'environment', from: 'environment' }])
  expect(await store.reports()).toEqual([{ instance: 'one', applied: ['environment:l2.bypass'] }])
  expect(await flags.board?.list()).toMatchObject([{ flag: 'l2.bypass', instance: 'one' }])
})

test('who was forgotten says again what it applies', async () => {
  await put('fill.off')
  await start()
  await store.report({ instance: 'one', applied: [] })
  await clock.advance(20_000)
  expect(await store.reports()).toEqual([{ instance: 'one', applied: ['fill.off||'] }])
})

test("a rule's own is applied at once, and an operator can unset it once it is kept", async () => {
  const flags = await start()
  const rule = { ...checkedSet('fill.off', { ...given, instance: 'one' }, 'rule', 'slo') }
  store.down = down
  mirror.down = down
  await flags.applyOwn(rule)
  expect(flags.isSet('fill.off')).toBe(true)
  store.down = undefined
  mirror.down = undefined
  await flags.applyOwn(rule)
  expect((await store.read()).flags).toMatchObject([{ by: 'slo', author: 'rule' }])
  await store.change([checkedUnset('fill.off', { instance: 'one' }, 'me')])
  await clock.advance(2_000)
  expect(flags.isSet('fill.off')).toBe(false)
  expect(told).toEqual(['set fill.off', 'unset fill.off'])
  await flags.applyOwn(rule)
  await flags.applyOwn({ ...rule, kind: 'unset' })
  expect(flags.isSet('fill.off')).toBe(false)
  expect((await store.read()).flags).toEqual([])
})
