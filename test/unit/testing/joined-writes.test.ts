/** A write that joins another one's transaction, in memory. */
import { expect, onTestFinished, test } from 'vitest'
import { testCache } from '../../../src/testing.ts'
import { entity } from '../../../src/types.ts'

interface City {
  readonly id: number
  readonly name: string
}

const city = entity('city', {
  load: async (_: number[]) => [] as City[],
  id: (row: City) => row.id,
})

async function open() {
  const one = await testCache({
    entities: { city },
    rows: {
      city: [
        { id: 1, name: 'Lutetia' },
        { id: 2, name: 'Roma' },
      ],
    },
  })
  onTestFinished(() => one.close())
  return one
}

test('it commits with the outer write, and both are told', async () => {
  const { cache, rowsIn } = await open()
  expect([(await cache.city.get(1))?.name, (await cache.city.get(2))?.name]).toEqual([
    'Lutetia',
    'Roma',
  ])
  let joined: Promise<boolean> | undefined
  await cache.city.write(1, async (tx) => {
    rowsIn(tx).city.put({ id: 1, name: 'Paris' })
    const inner = await cache.city.write(2, () => rowsIn(tx).city.put({ id: 2, name: 'Rome' }), {
      tx,
    })
    joined = inner.fencedAfterCommit
  })
  expect(await joined).toBe(true)
  expect([(await cache.city.get(1))?.name, (await cache.city.get(2))?.name]).toEqual([
    'Paris',
    'Rome',
  ])
})

test('it is rolled back with it', async () => {
  const { cache, rowsIn } = await open()
  let joined: Promise<boolean> | undefined
  const outer = cache.city.write(1, async (tx) => {
    const inner = await cache.city.write(2, () => rowsIn(tx).city.put({ id: 2, name: 'Rome' }), {
      tx,
    })
    joined = inner.fencedAfterCommit
    throw new Error('no')
  })
  await expect(outer).rejects.toThrow('no')
  expect(await joined).toBe(false)
  expect((await cache.city.get(2))?.name).toBe('Roma')
})

test('what is no open transaction is refused', async () => {
  const { cache } = await open()
  const write = cache.city.write(1, () => undefined, { tx: {} as never })
  await expect(write).rejects.toMatchObject({ code: 'OPTION_INVALID' })
})
