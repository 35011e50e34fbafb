/** A cache with a second signal, and what it tells of it. */
import { expect } from 'vitest'
import type { Logger } from '../../src/model/log.ts'
import type { PrometheusOptions } from '../../src/prometheus/options.ts'
import type { CacheEvents } from '../../src/telemetry/events.ts'
import { parseScrape, type Scrape } from './scrape.ts'
import type { ItemWorldCache, World } from './world.ts'

export const interval = '150ms'
export const scrape = async (cache: ItemWorldCache): Promise<Scrape> =>
  parseScrape(await cache.metrics().metrics())
export const answers = async (cache: ItemWorldCache, outcome: string): Promise<number> =>
  (await scrape(cache)).value('lockstep_fleet_answers_total', { outcome }) ?? 0

export interface Told {
  readonly cache: ItemWorldCache
  readonly breakers: CacheEvents['breaker'][]
  readonly logged: string[]
}

export async function openTold(world: World, prometheus: PrometheusOptions): Promise<Told> {
  const logged: string[] = []
  const log = (details: object, message: string): void => {
    logged.push(`${JSON.stringify(details)} ${message}`)
  }
  const logger: Logger = { debug: log, info: log, warn: log, error: log }
  const cache = await world.open({ options: { prometheus, logger } as never })
  const breakers: CacheEvents['breaker'][] = []
  cache.on('breaker', (event) => breakers.push(event))
  return { cache, breakers, logged }
}

/** It reads, writes and invalidates as ever. */
export async function expectNoDifference(world: World, { cache, breakers }: Told): Promise<void> {
  const { version, fenced } = await world.write(cache, 1)
  expect(fenced).toBe(true)
  expect((await cache.item.get(1, { consistency: 'strong' }))?.version).toBe(version)
  expect((await cache.item.get(2))?.id).toBe(2)
  expect(breakers).toEqual([])
}
