/** Two databases under one namespace in one Redis are refused at the start. */
import { expect, test } from 'vitest'
import { ownDatabase } from '../support/database.ts'
import { openWorld } from '../support/world.ts'

test('the second database is refused, and the first is not disturbed', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const postgres = await ownDatabase()
  const options = { options: { postgres } as never }
  await expect(world.open(options)).rejects.toMatchObject({ code: 'NAMESPACE_TAKEN' })
  await world.open()
  expect((await cache.item.get(1))?.version).toBe(0)
})
