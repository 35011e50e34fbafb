// An instance of its own, told over IPC what to do: what a test stops, continues and kills.
import { entity, lockstep } from '../../../dist/index.js'

const { namespace, postgres, redis, kafka, table, timing, bloom } = JSON.parse(process.argv[2])
const item = entity('item', {
  load: (ids, { db }) => db(table).whereIn('id', ids),
  id: (row) => row.id,
  ...(bloom ? { bloom } : {}),
})
const options = { namespace, postgres, entities: { item }, timing }
const cache = await lockstep({
  ...options,
  ...(redis ? { redis } : {}),
  ...(kafka ? { kafka } : {}),
})

const acts = {
  entry: ({ id, request }) => cache.item.getEntry(id, request),
  peek: ({ id }) => cache.item.peek(id) ?? null,
  write: ({ id }) =>
    cache.item.write(id, (tx) => tx(table).where({ id }).increment('version', 1).returning('*')),
  isRelaying: async () => /^lockstep_relaying\{.*\} 1$/m.test(await cache.metrics().metrics()),
  close: () => cache.close(),
}
process.on('message', ({ call, act, argument }) => {
  Promise.resolve()
    .then(() => acts[act](argument))
    .then(
      (value) => process.send({ call, value }),
      (error) => process.send({ call, error: String(error) }),
    )
})
process.on('disconnect', () => process.exit())
process.send('ready')
