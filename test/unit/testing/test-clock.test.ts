import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { AutoClock } from '../../../src/testing/test-clock.ts'
import { openCities } from './cities.ts'

const never = new Promise<never>(() => {})

describe('a ttl', () => {
  test('ends when the clock says so: fresh, then stale and loaded anew behind', async () => {
    const { cache, clock, rows, recorder } = await openCities()
    await cache.city.get(1)
    rows.city.put({ id: 1, name: 'Paris' })
    await clock.advance('9m')
    expect(await cache.city.getEntry(1)).toMatchObject({ state: 'fresh', tier: 'l1', proven: true })
    await clock.advance('1m')
    const stale = await cache.city.getEntry(1)
    expect(stale).toMatchObject({ state: 'stale', value: { name: 'Lutetia' }, ageMs: 600_000 })
    await clock.advance(0)
    expect(await cache.city.get(1)).toMatchObject({ name: 'Paris' })
    expect(recorder.loads.length).toBe(2)
  })

  test('and its grace: then a read waits for the source', async () => {
    const { cache, clock } = await openCities()
    await cache.city.get(1)
    await clock.advance('70m')
    expect(await cache.city.getEntry(1)).toMatchObject({ state: 'fresh', tier: 'source' })
  })

  test('of "does not exist" is its own', async () => {
    const { cache, clock, rows } = await openCities()
    expect(await cache.city.get(3)).toBeUndefined()
    rows.city.put({ id: 3, name: 'Vindobona' })
    await clock.advance('29s')
    expect(await cache.city.get(3)).toBeUndefined()
    await clock.advance('1s')
    expect(await cache.city.get(3)).toMatchObject({ name: 'Vindobona' })
  })
})

describe('time', () => {
  test('stands still while nobody moves it', async () => {
    const { cache, clock } = await openCities()
    const before = clock.now()
    await cache.city.getMany([1, 2, 3])
    await cache.city.invalidate(1)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(clock.now()).toBe(before)
  })

  test('passes for weeks at no cost, and L1 is proven fresh after them', async () => {
    const { cache, clock } = await openCities()
    const before = clock.now()
    const start = performance.now()
    await clock.advance('20d')
    expect(performance.now() - start).toBeLessThan(5_000)
    expect(clock.now() - before).toBe(20 * 86_400_000)
    await cache.city.get(1)
    expect(await cache.city.getEntry(1)).toMatchObject({ tier: 'l1', proven: true })
  })

  test('moves on by itself where a call could not go on without, and no further', async () => {
    const { cache, clock, trouble } = await openCities()
    trouble.slowLoads('300ms')
    const before = clock.now()
    expect(await cache.city.get(1)).toMatchObject({ name: 'Lutetia' })
    expect(clock.now() - before).toBe(300)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(clock.now() - before).toBe(300)
  })

  test('does not move by itself while a loader works', async () => {
    const load = async (ids: number[]) => {
      await new Promise((resolve) => setTimeout(resolve, 20))
      return ids.map((id) => ({ id, name: 'slow' }))
    }
    const { cache, clock } = await openCities({ loaders: { city: load } })
    const before = clock.now()
    const cities = await Promise.all([
      cache.city.get(1),
      cache.city.get(1),
      cache.country.get('FR'),
    ])
    expect(cities[0]).toMatchObject({ name: 'slow' })
    expect(clock.now()).toBe(before)
  })

  test('is moved by the test past the deadline of a loader that hangs', async () => {
    const { cache, clock, trouble } = await openCities({ loaders: { city: () => never } })
    const failed = expect(cache.city.get(1)).rejects.toMatchObject({ code: 'SOURCE_TIMEOUT' })
    await clock.advance('500ms')
    await failed
    // The loader hangs still, and holds nobody up.
    const late = cache.city.get(2, { timeout: '100ms' })
    const timedOut = expect(late).rejects.toMatchObject({ code: 'READ_TIMEOUT' })
    await clock.advance('500ms')
    await timedOut
    trouble.slowLoads('100ms')
    expect(await cache.country.get('FR')).toEqual({ code: 'FR' })
  })

  test('is moved by the test past the deadline of a callback that hangs', async () => {
    const { cache, clock, trouble } = await openCities()
    const failed = expect(cache.city.write(1, () => never)).rejects.toMatchObject({
      code: 'WRITE_TIMEOUT',
    })
    await clock.advance('500ms')
    await failed
    trouble.slowLoads('100ms')
    expect(await cache.city.get(1)).toMatchObject({ name: 'Lutetia' })
  })

  test('moves for a call within the callback of a write, which waits for it', async () => {
    const { cache, trouble } = await openCities()
    trouble.slowLoads('200ms', 'country')
    const { value } = await cache.city.write(1, () => cache.country.get('FR'))
    expect(value).toEqual({ code: 'FR' })
  })

  test('moves for the back-off of a source that is down', async () => {
    const { cache, clock, trouble } = await openCities()
    trouble.sourceDown()
    const before = clock.now()
    await expect(cache.city.get(1)).rejects.toMatchObject({ code: 'SOURCE_UNAVAILABLE' })
    expect(clock.now() - before).toBeGreaterThan(0)
    expect(clock.now() - before).toBeLessThan(1_000)
  })

  test('is advanced in turn by two who do so at once', async () => {
    const { clock } = await openCities()
    const before = clock.now()
    await Promise.all([clock.advance('1s'), clock.advance('2s')])
    expect(clock.now() - before).toBe(3_000)
  })

  test('is no concern of fake timers', async () => {
    vi.useFakeTimers()
    onTestFinished(() => void vi.useRealTimers())
    const { cache, clock, trouble } = await openCities()
    trouble.slowLoads('300ms')
    expect(await cache.city.get(1)).toMatchObject({ name: 'Lutetia' })
    await clock.advance('10m')
    expect(await cache.city.getEntry(1)).toMatchObject({ state: 'stale' })
  })

  test.each(['soon', -1, Number.NaN])('does not pass by %s', async (duration) => {
    const { clock } = await openCities()
    await expect(clock.advance(duration)).rejects.toMatchObject({ code: 'OPTION_INVALID' })
  })
})

test('what is due by the end of an advance is done, in order, while somebody waits', async () => {
  const clock = new AutoClock()
  const done: number[] = []
  for (const ms of [30, 10, 20]) clock.after(ms, () => done.push(clock.now()))
  const start = clock.now()
  const waiting = clock.waitedFor(new Promise<void>((resolve) => clock.after(25, resolve)))
  await clock.advance(30)
  await waiting
  expect(done.map((at) => at - start)).toEqual([10, 20, 30])
})

test.each([0, 5_000])('a closed cache has no timer left (timeout %i)', async (timeout) => {
  const { cache, clock } = await openCities()
  await cache.city.getMany([1, 2])
  await cache.city.invalidate(1)
  await cache.close({ timeout })
  expect((clock as AutoClock).timers).toBe(0)
})

test('a hung loader does not keep a cache from closing', async () => {
  const { cache, clock, close } = await openCities({ loaders: { city: () => never } })
  const reading = expect(cache.city.get(1)).rejects.toMatchObject({ code: 'CLOSED' })
  await new Promise((resolve) => setImmediate(resolve))
  await close()
  await reading
  expect((clock as AutoClock).timers).toBe(0)
})
