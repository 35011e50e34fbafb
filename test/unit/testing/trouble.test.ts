import { expect, test } from 'vitest'
import { LockstepError, PartialReadError } from '../../../src/model/errors.ts'
import { openCities } from './cities.ts'

test('with the source down, reads and writes fail; what is cached is answered, then unproven', async () => {
  const { cache, clock, trouble } = await openCities()
  await cache.city.get(1)
  trouble.sourceDown()
  const code = 'SOURCE_UNAVAILABLE'
  await expect(cache.city.get(2)).rejects.toMatchObject({ code, retryable: true })
  await expect(cache.city.write(1, () => {})).rejects.toMatchObject({ code, retryable: true })
  expect(await cache.city.getEntry(1)).toMatchObject({ tier: 'l1', proven: true })
  await clock.advance('2s')
  expect(cache.city.peek(1)).toBeUndefined()
  expect(await cache.city.getEntry(1)).toMatchObject({ tier: 'l2', proven: false })
  await clock.advance('10m')
  expect(await cache.city.getEntry(1)).toMatchObject({ state: 'stale', proven: false })
  await clock.advance('1h')
  await expect(cache.city.get(1)).rejects.toMatchObject({ code })
  trouble.end()
  expect(await cache.city.get(1)).toMatchObject({ name: 'Lutetia' })
})

test('a getMany that gets only some says which', async () => {
  const { cache, trouble } = await openCities()
  await cache.city.get(1)
  trouble.sourceDown()
  const error = await cache.city.getMany([1, 2]).catch((caught: unknown) => caught)
  expect(error).toBeInstanceOf(PartialReadError)
  const { values, failures } = error as PartialReadError
  expect([...values.keys()]).toEqual([1])
  expect(failures.get(2)).toBeInstanceOf(LockstepError)
})

test('with Redis down, reads go to the source, and writes are not fenced', async () => {
  const { cache, clock, trouble, rowsIn, recorder } = await openCities()
  trouble.redisDown()
  expect(await cache.city.get(1)).toMatchObject({ name: 'Lutetia' })
  const paris = { id: 1, name: 'Paris' }
  const written = await cache.city.write(1, (tx) => rowsIn(tx).city.put(paris))
  expect(written.fenced).toBe(false)
  expect(await cache.city.get(1)).toEqual(paris)
  const rejected = cache.city.write(1, () => {}, { onFenceFailure: 'reject' })
  await expect(rejected).rejects.toMatchObject({ code: 'WRITE_NOT_FENCED' })
  trouble.end()
  // Redis is told of what it has missed.
  await clock.advance('2s')
  expect(await cache.city.get(1, { consistency: 'strong' })).toEqual(paris)
  expect(recorder.writes.length).toBe(1)
})

test('a slow load is waited for, and one slower than its deadline is not', async () => {
  const { cache, trouble } = await openCities()
  trouble.slowLoads('499ms', 'city')
  expect(await cache.city.get(1)).toMatchObject({ name: 'Lutetia' })
  trouble.slowLoads('2s')
  expect(await cache.city.get(2)).toMatchObject({ name: 'Londinium' })
  await expect(cache.country.get('FR')).rejects.toMatchObject({ code: 'SOURCE_TIMEOUT' })
  const short = cache.country.get('DE', { timeout: '100ms' })
  await expect(short).rejects.toMatchObject({ code: 'READ_TIMEOUT' })
})

test('a slow load that a write overtakes fills nothing', async () => {
  const { cache, clock, trouble, rowsIn } = await openCities()
  trouble.slowLoads('400ms')
  const slow = cache.city.get(1)
  await clock.advance('100ms')
  const { ticket } = await cache.city.write(1, (tx) =>
    rowsIn(tx).city.put({ id: 1, name: 'Paris' }),
  )
  // It began before the write, and may say so.
  expect(await slow).toMatchObject({ name: 'Lutetia' })
  expect(await cache.city.get(1)).toMatchObject({ name: 'Paris' })
  expect(await cache.city.get(1, { ticket })).toMatchObject({ name: 'Paris' })
})

test('a loader that fails is told with the error that was asked for', async () => {
  const { cache, trouble } = await openCities()
  const cause = new Error('column "name" does not exist')
  trouble.failLoads(cause, 'city')
  await expect(cache.city.get(1)).rejects.toMatchObject({ code: 'LOADER_FAILED', cause })
  expect(await cache.country.get('FR')).toEqual({ code: 'FR' })
  trouble.failLoads()
  await expect(cache.country.get('DE')).rejects.toThrow('trouble.failLoads()')
  trouble.end()
  expect(await cache.city.get(1)).toMatchObject({ name: 'Lutetia' })
})

test.each([true, false])('without trust L1 is not served (with L2: %s)', async (redis) => {
  const { cache, clock, trouble, recorder } = await openCities({ redis })
  await cache.city.get(1)
  trouble.loseTrust()
  expect(cache.city.peek(1)).toBeUndefined()
  const entry = await cache.city.getEntry(1)
  expect(entry.tier).not.toBe('l1')
  expect((await cache.city.getEntry(1)).tier).not.toBe('l1')
  trouble.end()
  await clock.advance('1s')
  await cache.city.get(1)
  recorder.clear()
  expect(await cache.city.getEntry(1)).toMatchObject({ tier: 'l1', proven: true })
  expect(recorder.loads).toEqual([])
})

test('a COMMIT comes to what was asked for, once', async () => {
  const { cache, trouble, rowsIn } = await openCities()
  const rename = (name: string) => cache.city.write(1, (tx) => rowsIn(tx).city.put({ id: 1, name }))
  trouble.nextCommit('aborted')
  await expect(rename('Paris')).rejects.toMatchObject({ code: 'WRITE_ABORTED' })
  expect(await cache.city.get(1)).toMatchObject({ name: 'Lutetia' })
  trouble.nextCommit('unknown')
  await expect(rename('Paris')).rejects.toMatchObject({ code: 'WRITE_OUTCOME_UNKNOWN' })
  expect(await cache.city.get(1, { consistency: 'strong' })).toMatchObject({ name: 'Paris' })
  await rename('Roma')
  expect(await cache.city.get(1)).toMatchObject({ name: 'Roma' })
})

test('trouble of a kind or an entity that is none is told', async () => {
  const { trouble } = await openCities()
  const error = expect.objectContaining({ code: 'OPTION_INVALID' })
  expect(() => trouble.slowLoads('1s', 'town')).toThrow(error)
  expect(() => trouble.slowLoads('soon')).toThrow(error)
  expect(() => trouble.failLoads(new Error('x'), 'town')).toThrow(error)
  expect(() => trouble.nextCommit('lost' as never)).toThrow(error)
})
