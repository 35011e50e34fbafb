/** The second signal of the breakers: a real Prometheus over real caches. */
import { describe, expect, test } from 'vitest'
import { OtherInstances, serveMetrics, startPrometheus, valueAt } from '../support/prometheus.ts'
import {
  answers,
  expectNoDifference,
  interval,
  openTold,
  scrape,
} from '../support/second-signal.ts'
import { openWorld, until } from '../support/world.ts'

/** Other instances of the namespace, and the cache itself, scraped by a Prometheus. */
async function openFleet(hop: string, others: number) {
  const world = await openWorld()
  const fleet = Array.from({ length: others }, () => new OtherInstances(world.namespace, hop))
  let own = ''
  const all = [...fleet.map(({ text }) => text), () => own]
  const targets: Record<string, string> = {}
  for (const [index, text] of all.entries()) targets[`instance-${index}`] = await serveMetrics(text)
  const prometheus = await startPrometheus({ targets })
  const told = await openTold(world, { url: prometheus.url, interval })
  const publish = async (): Promise<void> => {
    own = await told.cache.metrics().metrics()
  }
  await publish()
  const ratio = `sum(increase(lockstep_breaker_calls_total{hop="${hop}",outcome="failed"}[1m]))`
  return { world, fleet, prometheus, told, publish, ratio }
}

describe('calls of other instances fail', () => {
  test('Redis is not asked by an instance that saw no failure, and everything goes on', async () => {
    const { world, fleet, told, publish } = await openFleet('l2', 2)
    const { cache, breakers } = told
    await cache.item.get(1)
    await publish()
    await until('nothing worth telling was heard', async () => (await answers(cache, 'empty')) > 2)
    expect(breakers).toEqual([])

    for (const one of fleet) one.failing = 40
    await until('the breaker is open', () => breakers.length > 0, 20_000)
    expect(breakers).toEqual([{ hop: 'l2', state: 'open', reason: 'fleet' }])
    const numbers = await scrape(cache)
    const calls = (outcome: string): number | undefined =>
      numbers.value('lockstep_breaker_calls_total', { hop: 'l2', node: '', outcome })
    expect(calls('failed')).toBe(0)
    expect(numbers.value('lockstep_fleet_holding', { hop: 'l2' })).toBe(1)
    expect(numbers.value('lockstep_fleet_holding', { hop: 'source' })).toBe(0)
    expect(numbers.value('lockstep_fleet_holds_total', { hop: 'l2' })).toBe(1)
    expect(cache.health()).toMatchObject({
      ...{ status: 'degraded', ready: true },
      hops: { l2: { breaker: 'open', held: true }, source: { breaker: 'closed', held: false } },
    })
    const line = told.logged.filter((one) => one.includes('the breaker of Redis'))
    expect(line).toEqual([expect.stringContaining('% of the calls of all instances failed')])

    const { version, fenced } = await world.write(cache, 1)
    expect(fenced).toBe(false)
    const entry = await cache.item.getEntry(1, { consistency: 'strong' })
    expect([entry.tier, entry.value?.version]).toEqual(['source', version])
    // Whatever it goes on to hear, it is held once.
    const heard = await answers(cache, 'known')
    await until('more was heard', async () => (await answers(cache, 'known')) > heard + 3)
    expect(breakers.length).toBe(1)
  })

  test('PostgreSQL, which nobody stands in for, is asked by a few at once', async () => {
    const { world, fleet, told } = await openFleet('source', 2)
    const { cache, breakers } = told
    for (const one of fleet) one.failing = 100
    await until('the breaker is half-open', () => breakers.length > 0, 20_000)
    expect(breakers).toEqual([{ hop: 'source', state: 'half-open', reason: 'fleet' }])
    for (let id = 1; id < 20; id++) expect((await cache.item.get(id))?.id).toBe(id)
    expect((await world.write(cache, 1)).fenced).toBe(true)
    expect(breakers.length).toBe(1)
  })

  test('one of them alone, however ill, says nothing of the service', async () => {
    const { world, fleet, prometheus, told, ratio } = await openFleet('l2', 3)
    if (fleet[0]) fleet[0].failing = 100
    await until(
      'Prometheus knows of it',
      async () => ((await valueAt(prometheus, ratio)) ?? 0) > 100,
      20_000,
    )
    const heard = await answers(told.cache, 'empty')
    await until('it was heard', async () => (await answers(told.cache, 'empty')) > heard + 3)
    await expectNoDifference(world, told)
  })
})

describe('basic authentication', () => {
  const username = 'ops'
  const password = 'test'
  /** bcrypt of `test`, from Prometheus' guide. */
  const users = { ops: '$2b$12$hNf2lSsxfm0.i4a.1kVpSOVyBCfIB51VRjgBUyv6kdnyTlgWj81Ay' }

  test('it is let in with the password, by URL or beside it, and not without', async () => {
    const world = await openWorld()
    const { url } = await startPrometheus({ users })
    const inUrl = url.replace('//', `//${username}:${password}@`)
    for (const [prometheus, outcome] of [
      [{ url, username, password }, 'empty'],
      [{ url: inUrl }, 'empty'],
      [{ url, username, password: 'hunter2' }, 'refused'],
      [{ url: url.replace('//', `//${username}:hunter2@`) }, 'refused'],
      [{ url }, 'refused'],
    ] as const) {
      const told = await openTold(world, { ...prometheus, interval })
      await until('it was asked', async () => (await answers(told.cache, outcome)) > 0)
      const seen = told.logged.join() + (await told.cache.metrics().metrics())
      expect(seen).not.toContain('hunter2')
      expect(seen).not.toContain(Buffer.from('ops:hunter2').toString('base64'))
      await told.cache.close()
    }
  })
})
