// Closes a cache at an awkward moment. That the process ends by itself, with code 0, is the test:
// there is no process.exit here.
import { entity, lockstep } from '../../../dist/index.js'

const [namespace, postgres, redis, table, moment, kafkaJson] = process.argv.slice(2)
const kafka = JSON.parse(kafkaJson) ?? undefined
const is = (what) => moment === what || moment === 'everything'

let hang = false
const item = entity('item', {
  load: async (ids, { db }) => {
    if (hang) await new Promise(() => {})
    return db(table).whereIn('id', ids)
  },
  id: (row) => row.id,
})
const places = { postgres, redis, ...(kafka ? { kafka } : {}) }
const cache = await lockstep({ namespace, ...places, entities: { item } })
process.channel?.unref()

const underWay = []
await cache.item.get(1)
if (is('reading')) for (let id = 1; id <= 50; id++) underWay.push(cache.item.get(id))
if (is('writing')) {
  for (let id = 1; id <= 5; id++) {
    underWay.push(cache.item.write(id, (tx) => tx(table).where({ id }).increment('version', 1)))
  }
}
if (is('loader hangs')) {
  hang = true
  underWay.push(cache.item.get(40, { consistency: 'strong' }))
}
const settled = Promise.allSettled(underWay)
await Promise.all([cache.close({ timeout: '300ms' }), cache.close()])
for (const { status, reason } of await settled) {
  if (status === 'rejected' && !['CLOSED', 'SOURCE_TIMEOUT'].includes(reason.code)) throw reason
}
