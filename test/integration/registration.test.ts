/** What a start makes known to the others of its namespace (docs/decisions/0005), whoever starts beside it. */
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../src/model/clock.ts'
import { type Registration, register } from '../../src/postgres/namespace.ts'
import { kafkaPlane, outboxPlane } from '../../src/postgres/plane.ts'
import { openPool } from '../../src/postgres/pool.ts'
import { thing } from '../contract/words.ts'
import { connect, ownDatabase } from '../support/database.ts'

test.each(['read committed', 'repeatable read', 'serializable'])(
  'instances that start at once all start, where %s is the default isolation',
  async (isolation) => {
    const url = await ownDatabase()
    const client = await connect(url)
    await client.query(
      `alter database ${new URL(url).pathname.slice(1)} set default_transaction_isolation = '${isolation}'`,
    )
    for (let round = 0; round < 10; round++) {
      const starts = Array.from({ length: 4 }, () => start(url, named('thing'), `shop${round}`))
      await Promise.all(starts)
    }
    const { rows } = await client.query(
      'select count(*)::int as known from lockstep.schema_versions',
    )
    expect(rows).toEqual([{ known: 10 }])
  },
)

test.each([
  ['user', 'user:profile'],
  ['user:profile', 'user'],
])(
  '"%s" keeps "%s", which would have its keys in Redis, out of its namespace',
  async (first, second) => {
    const url = await ownDatabase()
    await start(url, named('city', first))
    const refused = start(url, named('city', second))
    await expect(refused).rejects.toMatchObject({
      code: 'OPTION_INVALID',
      message: expect.stringMatching(
        /an id of "user" that begins with "profile:" .* one of "user:profile"/,
      ),
    })
    await expect(refused).rejects.toThrow(`"${second}" cannot be added to namespace "shop"`)
    await expect(refused).rejects.toThrow(`"${first}" already`)
    await start(url, named(second), 'other')
    // What is known starts again, and so do names that only look alike.
    await start(url, named('city', first))
    await start(url, named('users', 'us', 'city:user'), 'other shop')
  },
)

test('two that start at once with names that clash do not both start', async () => {
  const url = await ownDatabase()
  const starts = await Promise.allSettled([
    start(url, named('user')),
    start(url, named('user:profile')),
  ])
  expect(starts.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
})

test('transactions that call lockstep.invalidate, of which always some are open, keep no new entity out', async () => {
  const url = await ownDatabase()
  await start(url, named('old'))
  const writers = await Promise.all(Array.from({ length: 4 }, () => connect(url)))
  let isOver = false
  const busy = writers.map(async (client, index) => {
    await client.query(`select pg_sleep(${index * 0.2})`)
    while (!isOver) {
      await client.query(
        "begin; select lockstep.invalidate('old', 1); select pg_sleep(0.8); commit",
      )
    }
  })
  await start(url, named('new')).finally(() => {
    isOver = true
  })
  await Promise.all(busy)
})

// ---------------------------------------------------------------- the plane

const kafka = kafkaPlane('lockstep.shop', 4)

test.each([
  ['without Kafka', 'with Kafka', outboxPlane, kafka],
  ['with Kafka', 'without Kafka', kafka, outboxPlane],
  ['with a topic', 'with another', kafka, kafkaPlane('lockstep.other', 4)],
  ['with 4 partitions', 'with 8', kafka, kafkaPlane('lockstep.shop', 8)],
])('a namespace %s refuses an instance %s', async (_one, _other, first, second) => {
  const url = await ownDatabase()
  await start(url, named('city'), 'shop', first)
  const refused = start(url, named('country'), 'shop', second)
  await expect(refused).rejects.toMatchObject({ code: 'PLANE_MISMATCH', retryable: false })
  for (const plane of [first, second]) {
    const [, topic, partitions] = plane.split(':')
    const name = topic ? `"${topic}" of Kafka with ${partitions} partitions` : 'the outbox plane'
    await expect(refused).rejects.toThrow(name)
  }
  // It has left nothing behind, and the others are not disturbed; nor are other namespaces.
  const client = await connect(url)
  const { rows } = await client.query('select entity from lockstep.schema_versions')
  expect(rows).toEqual([{ entity: 'city' }])
  await start(url, named('city', 'country'), 'shop', first)
  await start(url, named('city'), 'other', second)
})

test('of two planes that are brought at once one is recorded, and only its instances start', async () => {
  const url = await ownDatabase()
  const client = await connect(url)
  for (let round = 0; round < 10; round++) {
    const namespace = `shop${round}`
    const planes = [outboxPlane, kafka, outboxPlane, kafka]
    const starts = await Promise.allSettled(
      planes.map((plane) => start(url, named('city'), namespace, plane)),
    )
    const { rows } = await client.query('select plane from lockstep.namespaces where name = $1', [
      namespace,
    ])
    const [{ plane: recorded }] = rows
    expect(planes).toContain(recorded)
    expect(starts.map(({ status }) => status)).toEqual(
      planes.map((plane) => (plane === recorded ? 'fulfilled' : 'rejected')),
    )
    const refused = starts.filter((one) => one.status === 'rejected')
    expect(refused.map(({ reason }) => reason.code)).toEqual(['PLANE_MISMATCH', 'PLANE_MISMATCH'])
  }
})

test('a namespace of before there were planes takes the one of the first that starts', async () => {
  const url = await ownDatabase()
  const client = await connect(url)
  await start(url, named('city'))
  await client.query('update lockstep.namespaces set plane = null')
  await start(url, named('city'), 'shop', kafka)
  await expect(start(url, named('city'))).rejects.toMatchObject({ code: 'PLANE_MISMATCH' })
})

function named(...names: readonly string[]): Registration['entities'] {
  return names.map((name) => ({ ...thing(), name }))
}

async function start(
  url: string,
  entities: Registration['entities'],
  namespace = 'shop',
  plane = outboxPlane,
): Promise<void> {
  const pool = openPool(url)
  onTestFinished(() => pool.close())
  await register(pool, { namespace, hasL2: true, plane, entities }, systemClock)
}
