/** Servers that die, forget, or stay away. */
import { randomBelow } from '../../src/demo/random.ts'
import { until } from '../support/until.ts'
import type { Fault, Site } from './faults.ts'

const none = { kills: 0 }
const one = { kills: 1 }

/**
 * The replica takes over without the last things that the primary has acknowledged. It is over when
 * a value of Redis is proven again.
 */
const failover: Fault = {
  service: 'redis',
  run: async (site) => {
    const { crew, pause, places, random, recording } = site
    const [primary, replica] = places.redis
    await recording.fault('redis-failover', 'the primary', async () => {
      await replica.detach()
      await pause(200 + randomBelow(1_500, random))
      // All at once: two primaries at a time are more than is promised.
      await primary.kill()
      await replica.promote()
      for (const { proxies } of crew.seats) proxies.redis.turnTo(replica.url)
      places.redis.reverse()
      await primary.start()
      await primary.follow(replica)
      await untilProven(site)
      return one
    })
  },
}

const restartedEmpty: Fault = {
  service: 'redis',
  run: async (site) => {
    const { pause, places, random, recording } = site
    const [primary, replica] = places.redis
    await recording.fault('redis-restart-empty', 'the primary', async () => {
      await primary.kill()
      await pause(randomBelow(500, random))
      await primary.start()
      await replica.follow(primary)
      await untilProven(site)
      return one
    })
  },
}

const flushed: Fault = {
  service: 'redis',
  run: async (site) => {
    const [primary] = site.places.redis
    await site.recording.fault('redis-flush', 'the primary', async () => {
      await primary.admin.flushall()
      await untilProven(site)
      return none
    })
  },
}

/** Values and fences go by themselves, as under a limit of memory. */
const evicted: Fault = {
  service: 'redis',
  run: async ({ pause, places, random, recording }) => {
    const [primary] = places.redis
    await recording.fault('redis-evict', 'keys of the primary', async () => {
      for (let times = 40; times > 0; times--) {
        const key = await primary.admin.randomkey()
        if (key?.includes('{')) await primary.admin.del(key)
        await pause(randomBelow(20, random))
      }
      return none
    })
  },
}

/** Dead more often than anything else: Redis is back with nothing in some milliseconds. */
const killedReplica: Fault = {
  service: 'redis',
  run: async ({ places, recording }) => {
    const [primary, replica] = places.redis
    await recording.fault('redis-killed', 'the replica', async () => {
      await replica.kill()
      await replica.start()
      await replica.follow(primary)
      return one
    })
  },
}

/** With its log not on disk: transaction ids come again. */
const crashed: Fault = {
  service: 'postgres',
  run: async ({ pause, places, random, recording }) => {
    const { postgres } = places
    await recording.fault('postgres-crash', 'the server', async () => {
      await postgres.stopFlushing()
      await pause(300)
      await postgres.kill9()
      await pause(randomBelow(1_000, random))
      await postgres.start()
      return one
    })
  },
}

const killedBackend: Fault = {
  service: 'postgres',
  run: async ({ places, recording }) => {
    await recording.fault('backend-killed', 'a backend', async () => {
      await places.postgres.crashBackend()
      return one
    })
  },
}

const stoppedBroker: Fault = {
  service: 'kafka',
  run: async ({ brokerOutageMs, pause, places, recording }) => {
    const server = places.kafka?.server
    if (!server) return
    await recording.fault('kafka-stopped', 'the broker', async () => {
      await server.stop()
      await pause(brokerOutageMs)
      await server.start()
      return none
    })
  },
}

const killedBroker: Fault = {
  service: 'kafka',
  run: async ({ pause, places, random, recording }) => {
    const server = places.kafka?.server
    if (!server) return
    await recording.fault('kafka-killed', 'the broker', async () => {
      await server.kill()
      await pause(randomBelow(2_000, random))
      await server.start()
      return one
    })
  },
}

async function untilProven({ crew, signal }: Site): Promise<void> {
  await until(
    'a value of Redis is proven again',
    async () => {
      if (signal.aborted) return true
      const well = await Promise.all(crew.seats.map(({ member }) => member?.isWell() ?? false))
      return well.includes(true)
    },
    60_000,
  )
}

export const serverFaults: readonly Fault[] = [
  failover,
  failover,
  restartedEmpty,
  flushed,
  evicted,
  killedReplica,
  crashed,
  killedBackend,
]

export const brokerFaults: readonly Fault[] = [stoppedBroker, killedBroker]
