// A process whose loads take a given time once they have read their rows. It says when they begin, and
// when it could not have kept a lease, because it, Redis or the machine stood still.
import { setTimeout } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { entity, lockstep } from '../../../dist/index.js'

const [namespace, postgres, redis, table, loadMs, leaseMs] = process.argv.slice(2)
let loads = 0

const item = entity('item', {
  load: async (ids, { db }) => {
    loads++
    const rows = await db(table).whereIn('id', ids)
    process.send({ kind: 'loading' })
    await setTimeout(Number(loadMs))
    return rows
  },
  id: (row) => row.id,
})
const cache = await lockstep({
  namespace,
  postgres,
  redis,
  entities: { item },
  timing: { redisDeadline: '2s', loadDeadline: '10s', readDeadline: '25s' },
})

process.on('message', async (id) => {
  const row = await cache.item.get(id)
  process.send({ kind: 'answered', version: row?.version, loads })
})

/** Of a lease that is renewed at another moment than those here. */
const marginMs = 10
const pulse = new Redis(redis)
let saidAtMs = Number.NEGATIVE_INFINITY

/** Renews as leases are renewed: at a look, one in 10 ms, after a third of its time. */
async function renew() {
  let sentAtMs = performance.now()
  for (;;) {
    const beforeMs = sentAtMs
    do await setTimeout(10)
    while (performance.now() - beforeMs < leaseMs / 3)
    sentAtMs = performance.now()
    await pulse.ping()
    const nowMs = performance.now()
    if (nowMs - beforeMs > leaseMs - marginMs && nowMs - saidAtMs > leaseMs) {
      saidAtMs = nowMs
      process.send({ kind: 'stalled' })
    }
  }
}

// At least one of them is renewed within 10 ms of the lease of a load.
for (let phase = 0; phase < 4; phase++) {
  void renew()
  await setTimeout(9)
}
process.send({ kind: 'ready' })
