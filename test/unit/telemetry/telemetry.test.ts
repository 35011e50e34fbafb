import { beforeEach, expect, test } from 'vitest'
import { S3Fifo } from '../../../src/memory/policies/s3fifo.ts'
import { L1Region } from '../../../src/memory/region.ts'
import { defineEntity } from '../../../src/model/entity.ts'
import { LockstepError } from '../../../src/model/errors.ts'
import { silent } from '../../../src/model/log.ts'
import { count, newReadCounters } from '../../../src/telemetry/counters.ts'
import type { EntityNumbers, Present } from '../../../src/telemetry/samples.ts'
import { Telemetry, type TelemetryOptions } from '../../../src/telemetry/telemetry.ts'
import { VirtualClock } from '../../support/clock.ts'
import { parseScrape } from '../../support/scrape.ts'

const names = ['city', 'user:profile']
let clock: VirtualClock
let entities: readonly EntityNumbers[]
let present: Present
beforeEach(() => {
  clock = new VirtualClock()
  entities = names.map((name) => {
    const entity = defineEntity(name, { load: async () => [], id: (row: { id: number }) => row.id })
    const region = new L1Region(entity, new S3Fifo(entity.maxEntries))
    return { entity, region, counters: newReadCounters() }
  })
  present = {
    isTrusted: true,
    trustAgeMs: 250,
    isRelaying: true,
    owed: (destination) => ({
      rows: destination === 'l2' ? 3 : 4,
      oldestMs: destination === 'l2' ? 1_500 : 2_500,
      isTold: false,
    }),
    runningLoads: 8,
    waitingLoads: 2,
    flags: [{ flag: 'l2.bypass' }, { flag: 'fill.off', entity: 'city' }],
    loadsLimit: 8,
    breakers: [
      {
        hop: 'l2',
        state: 'half-open',
        calls: [
          ['10.0.0.1:6379', { answered: 7, failed: 2, refused: 1 }],
          ['10.0.0.2:6379', { answered: 8, failed: 0, refused: 0 }],
        ],
        isHeld: true,
      },
      {
        hop: 'source',
        state: 'closed',
        calls: [[undefined, { answered: 9, failed: 0, refused: 0 }]],
        isHeld: false,
      },
    ],
  }
})

const none = { made: 0, refused: 0 }

function open(options: Partial<TelemetryOptions> = {}): Telemetry {
  return new Telemetry({
    namespace: 'shop',
    clock,
    log: silent,
    hasL2: true,
    hasLog: false,
    entities: () => entities,
    present: () => present,
    boundMs: 1_000,
    retries: { l2: none, source: { made: 4, refused: 3 }, bus: none },
    ...options,
  })
}
const scrape = async (telemetry: Telemetry) => parseScrape(await telemetry.registry.metrics())

test('what the coordinator knows now is read at each scrape, in base units', async () => {
  const telemetry = open()
  const first = await scrape(telemetry)
  const gauges = (numbers: typeof first) =>
    [
      'l1_trusted',
      'trust_age_seconds',
      'staleness_bound_seconds',
      'relaying',
      'outbox_backlog_rows',
      'outbox_backlog_seconds',
      'loads_running',
      'loads_waiting',
      'loads_limit',
    ].map((name) =>
      numbers.value(`lockstep_${name}`, name.startsWith('outbox') ? { destination: 'l2' } : {}),
    )
  expect(gauges(first)).toEqual([1, 0.25, 1, 1, 3, 1.5, 8, 2, 8])
  const states = first.series('lockstep_breaker_state').map(({ labels, value }) => [labels, value])
  expect(states).toEqual([
    [{ hop: 'l2', state: 'closed' }, 0],
    [{ hop: 'l2', state: 'open' }, 0],
    [{ hop: 'l2', state: 'half-open' }, 1],
    [{ hop: 'source', state: 'closed' }, 1],
    [{ hop: 'source', state: 'open' }, 0],
    [{ hop: 'source', state: 'half-open' }, 0],
  ])
  present = { ...present, isTrusted: false, trustAgeMs: Number.POSITIVE_INFINITY }
  expect(gauges(await scrape(telemetry)).slice(0, 2)).toEqual([0, Number.POSITIVE_INFINITY])
})

test('the calls of breakers, retries, and what was heard of all instances', async () => {
  const telemetry = open({ hasLog: true })
  telemetry.fleet.answers.set('known', 5).set('stale', 1)
  telemetry.fleet.holds.set('l2', 2)
  const numbers = await scrape(telemetry)
  const lines = (name: string) =>
    numbers.series(name).map(({ labels, value }) => `${Object.values(labels).join(' ')}: ${value}`)
  expect(lines('lockstep_breaker_calls_total')).toEqual([
    ...['l2 10.0.0.1:6379 answered: 7', 'l2 10.0.0.1:6379 failed: 2'],
    ...['l2 10.0.0.1:6379 refused: 1', 'l2 10.0.0.2:6379 answered: 8'],
    ...['l2 10.0.0.2:6379 failed: 0', 'l2 10.0.0.2:6379 refused: 0'],
    ...['source  answered: 9', 'source  failed: 0', 'source  refused: 0'],
  ])
  expect(lines('lockstep_retries_total')).toEqual([
    ...['l2 made: 0', 'l2 refused: 0', 'source made: 4', 'source refused: 3'],
    ...['bus made: 0', 'bus refused: 0'],
  ])
  expect(lines('lockstep_fleet_answers_total')).toEqual(['known: 5', 'stale: 1'])
  expect(lines('lockstep_fleet_holding')).toEqual(['l2: 1', 'source: 0'])
  expect(lines('lockstep_fleet_holds_total')).toEqual(['l2: 2'])
})

test('without anybody to ask, and without breakers, nothing is said of them', async () => {
  present = { ...present, breakers: [] }
  const numbers = await scrape(open())
  for (const name of ['breaker_calls_total', 'fleet_answers_total', 'fleet_holding']) {
    expect(numbers.series(`lockstep_${name}`)).toEqual([])
  }
})

test('what is owed is told of each destination that there is, by whoever knows', async () => {
  const backlog = async (options: Partial<TelemetryOptions>) => {
    const numbers = await scrape(open(options))
    return ['rows', 'seconds'].flatMap((unit) =>
      numbers
        .series(`lockstep_outbox_backlog_${unit}`)
        .map(({ labels, value }) => [labels.destination, value]),
    )
  }
  expect(await backlog({ hasLog: true })).toEqual([
    ...[
      ['l2', 3],
      ['log', 4],
      ['l2', 1.5],
      ['log', 2.5],
    ],
  ])
  expect(await backlog({ hasL2: false, hasLog: true })).toEqual([
    ['log', 4],
    ['log', 2.5],
  ])
  expect(await backlog({ hasL2: false })).toEqual([])
  present = { ...present, isRelaying: false, owed: () => undefined }
  expect(await backlog({ hasLog: true })).toEqual([])
  expect((await scrape(open())).value('lockstep_relaying')).toBe(0)
})

test('what was relayed, replayed and repeated here is counted', async () => {
  const telemetry = open({ hasLog: true })
  count(telemetry.hops.relayedRows, 'log', 5)
  telemetry.relayed.replayedRows = 6
  telemetry.relayed.repeatedRows = 7
  telemetry.relayed.repeatedValues = 8
  telemetry.hops.prunedRows = 9
  const numbers = await scrape(telemetry)
  const relayed = numbers
    .series('lockstep_outbox_relayed_rows_total')
    .map(({ labels, value }) => [labels.destination, value])
  expect(relayed).toEqual([
    ['l2', 0],
    ['log', 5],
  ])
  const totals = ['outbox_replayed_rows', 'delayed_deletes', 'delayed_delete_values']
  expect(totals.map((name) => numbers.value(`lockstep_${name}_total`))).toEqual([6, 7, 8])
  expect(numbers.value('lockstep_outbox_pruned_rows_total')).toBe(9)
})

test('counters are those of the reads, by entity, however often they are scraped', async () => {
  const telemetry = open()
  const [city, profile] = entities as [EntityNumbers, EntityNumbers]
  city.counters.l1Hits = 7
  profile.counters.l1Hits = 5
  city.counters.sourceAbsent = 2
  profile.counters.fills.tombstone = 4
  count(city.counters.readFailures, 'READ_TIMEOUT')
  await scrape(telemetry)
  city.counters.l1Hits++
  const numbers = await scrape(telemetry)
  const reads = (entity: string, tier: string, outcome: string) =>
    numbers.value('lockstep_reads_total', { entity, tier, outcome })
  expect(reads('city', 'l1', 'fresh')).toBe(8)
  expect(reads('user:profile', 'l1', 'fresh')).toBe(5)
  expect(reads('city', 'source', 'absent')).toBe(2)
  expect(reads('city', 'l2', 'stale')).toBe(0)
  const refused = { entity: 'user:profile', answer: 'tombstone' }
  expect(numbers.value('lockstep_fills_total', refused)).toBe(4)
  expect(numbers.series('lockstep_read_failures_total')).toMatchObject([
    { labels: { entity: 'city', code: 'READ_TIMEOUT' }, value: 1 },
  ])
})

test('what is there from the start is 0 from the start, and says nothing of a Redis that is none', async () => {
  const numbers = await scrape(open())
  const hops = numbers.series('lockstep_hop_seconds_count').map(({ labels }) => labels)
  expect(hops.map(({ hop, operation }) => `${hop} ${operation}`)).toEqual([
    ...['l2 lookup', 'l2 acquire', 'l2 fill', 'l2 invalidate', 'source load', 'source replica'],
    'source begin',
    ...['source record', 'source commit', 'source poll', 'source notify', 'source mark'],
    ...['source claim', 'source lead', 'source progress', 'source page', 'source prune'],
  ])
  expect(numbers.series('lockstep_hop_failures_total').map(({ labels }) => labels)).toEqual(hops)
  expect(numbers.value('lockstep_write_seconds_count')).toBe(0)
  expect(numbers.value('lockstep_deletes_total', { delete: 'first', outcome: 'dropped' })).toBe(0)

  present = { ...present, breakers: [] }
  const alone = await scrape(open({ hasL2: false }))
  expect(alone.series('lockstep_breaker_state')).toEqual([])
  const its = ['lockstep_hop_seconds_count', 'lockstep_hop_failures_total'].flatMap((name) =>
    alone.series(name).map(({ labels }) => labels.hop),
  )
  expect(new Set(its)).toEqual(new Set(['source']))
})

test('a write is counted by what it came to, and timed if it committed', async () => {
  const telemetry = open()
  const write = async (result: { fenced: boolean } | Error, ms: number): Promise<unknown> => {
    clock.stop(ms)
    if (result instanceof Error) throw result
    return result
  }
  const run = (result: { fenced: boolean } | Error, ms = 0) =>
    telemetry.write(() => write(result, ms) as Promise<{ fenced: boolean }>)
  const fenced = { fenced: true }
  expect(await run(fenced, 3)).toBe(fenced)
  await run(fenced, 100)
  await run({ fenced: false })
  const timeout = new LockstepError('WRITE_TIMEOUT', 'too long')
  await expect(run(timeout, 9_000)).rejects.toBe(timeout)
  await expect(run(new Error('the caller’s'))).rejects.toThrow('caller')
  const numbers = await scrape(telemetry)
  expect(numbers.value('lockstep_writes_total', { outcome: 'fenced' })).toBe(2)
  expect(numbers.value('lockstep_writes_total', { outcome: 'unfenced' })).toBe(1)
  expect(numbers.value('lockstep_write_failures_total', { code: 'WRITE_TIMEOUT' })).toBe(1)
  expect(numbers.value('lockstep_write_failures_total', { code: 'OTHER' })).toBe(1)
  expect(numbers.value('lockstep_write_seconds_count')).toBe(3)
  expect(numbers.value('lockstep_write_seconds_sum')).toBeCloseTo(0.103)
  expect(numbers.value('lockstep_write_seconds_bucket', { le: '0.004' })).toBe(2)
  expect(numbers.value('lockstep_write_seconds_bucket', { le: '0.125' })).toBe(3)
})

test('losses of trust are counted by their reason, and told', async () => {
  const telemetry = open()
  const told: unknown[] = []
  telemetry.events.on('trust', (event) => told.push(event))
  telemetry.trustChanged({ state: 'gained' })
  telemetry.trustChanged({ state: 'lost', reason: 'expired' })
  telemetry.trustChanged({ state: 'lost', reason: 'expired' })
  expect(told).toHaveLength(3)
  expect((await scrape(telemetry)).series('lockstep_trust_losses_total')).toMatchObject([
    { labels: { reason: 'expired' }, value: 2 },
  ])
})

test('two caches have registries of their own, and nothing is in the global one', async () => {
  const { register } = await import('prom-client')
  const before = register.getMetricsAsArray().length
  const [one, other] = [open(), open({ namespace: 'billing' })]
  one.writes.fenced = 1
  const fenced = { outcome: 'fenced' }
  expect((await scrape(other)).value('lockstep_writes_total', fenced)).toBe(0)
  expect([...(await scrape(other)).namespaces]).toEqual(['billing'])
  expect(register.getMetricsAsArray().length).toBe(before)
})
