// A process with a value in L1 that stops itself and, when it goes on, answers from L1 before it
// could have heard of anything.
import { entity, lockstep } from '../../../dist/index.js'

const [namespace, postgres, redis, table, clockName] = process.argv.slice(2)

const system = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  defer: (run) => process.nextTick(run),
  after: (ms, run) => {
    const timer = setTimeout(run, ms)
    return () => clearTimeout(timer)
  },
}

function timerClock() {
  let monotonicMs = performance.now()
  let wallMs = Date.now()
  setInterval(() => {
    monotonicMs = performance.now()
    wallMs = Date.now()
  }, 20)
  return { ...system, monotonicMs: () => monotonicMs, wallMs: () => wallMs }
}

const item = entity('item', {
  load: (ids, { db }) => db(table).whereIn('id', ids),
  id: (row) => row.id,
})
const cache = await lockstep({
  namespace,
  postgres,
  redis,
  entities: { item },
  clock: clockName === 'timer' ? timerClock() : system,
})

while (cache.item.peek(1) === undefined) await cache.item.get(1)

process.on('message', () => {
  process.kill(process.pid, 'SIGSTOP')
  process.send({ version: cache.item.peek(1)?.version ?? null }, () => process.exit())
})
process.send('ready')
