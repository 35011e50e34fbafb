import { describe, expect, test } from 'vitest'
import { readConfig } from '../../../src/config.ts'
import { noAttack } from '../../../src/demo/attack.ts'
import { Docket } from '../../../src/demo/docket.ts'
import { LatencyHistogram } from '../../../src/demo/latency.ts'
import type { Progress } from '../../../src/demo/messages.ts'
import { type DemoResults, failureOf, resultsOf, sumUp, Tally } from '../../../src/demo/results.ts'
import { liveLine, progressBar } from '../../../src/demo/screen.ts'
import { addressesOf, maskUrl } from '../../../src/demo/services.ts'
import { tableOf } from '../../../src/demo/table.ts'

const progress: Progress = {
  calls: 50,
  l1Hits: 60,
  l2Hits: 20,
  misses: 20,
  loads: 15,
  sourceQueries: 15,
  absent: 0,
  failedReads: 1,
  failedWrites: 2,
  firstFailure: undefined,
  attack: noAttack,
}
const services = {
  postgres: { version: '15.20', url: 'postgres://127.0.0.1/shop' },
  redis: { version: '7.0.15', url: 'redis://127.0.0.1' },
}

function results(changes: Partial<DemoResults> = {}): DemoResults {
  const options = {
    seconds: 10,
    processes: 3,
    writes: 0.02,
    trace: undefined,
    foreign: false,
    kafka: false,
    chaos: false,
    attack: false,
  }
  const run = {
    options,
    rows: 171_075,
    docket: new Docket(3, 1_000),
    sums: sumUp([progress, progress]),
    services,
    credit: 'GeoNames',
    chaos: undefined,
  }
  return { ...resultsOf(run), reads: 200, ...changes }
}

test('the counts of all processes are added up, and the first failure is kept', () => {
  const sums = sumUp([
    progress,
    { ...progress, firstFailure: 'a' },
    { ...progress, firstFailure: 'b' },
  ])
  expect(sums).toEqual({
    calls: 150,
    l1Hits: 180,
    l2Hits: 60,
    misses: 60,
    loads: 45,
    sourceQueries: 45,
    absent: 0,
    failedReads: 3,
    failedWrites: 6,
    firstFailure: 'a',
    attack: noAttack,
  })
})

describe('a run fails', () => {
  test('when an answer was stale', () => {
    expect(failureOf(results({ staleStrong: 1 }), undefined)).toContain('stale answers: 1')
    expect(failureOf(results({ staleBeyondBound: 2 }), undefined)).toContain('stale answers: 2')
  })

  test('when a row was said not to exist', () => {
    expect(failureOf(results({ absent: 1 }), undefined)).toContain('said not to exist: 1')
  })

  test('when hardly anything was answered, with the reason', () => {
    expect(failureOf(results({ reads: 0 }), 'gone')).toBe('no read was answered: gone')
    expect(failureOf(results({ failedReads: 100 }), 'gone')).toContain('the first: gone')
  })

  test('and not when a few reads failed', () => {
    expect(failureOf(results({ reads: 1_000, failedReads: 2 }), 'late')).toBeUndefined()
  })
})

test('the table tells what the numbers tell', () => {
  const table = tableOf(results({ hitRatio: 0.8, maxStaleMs: 12.34, crossProcessChecks: 1_234 }))
  for (const part of [
    '171,075 rows',
    'L1',
    '60.0 %',
    '80.0 %',
    '1,234 reads',
    '12.3 ms',
    '70, 70.0 %',
    'GeoNames',
  ]) {
    expect(table).toContain(part)
  }
})

test('a live line tells of the second that has passed', () => {
  const at = (seconds: number, times: number) => ({
    seconds,
    reads: 1_000 * times,
    sums: sumUp(Array.from({ length: times }, () => progress)),
    stale: 0,
  })
  expect(liveLine(at(2, 3), at(1, 1))).toMatch(/2 s +2,000 reads\/s +L1 +60\.0 % +L2 +20\.0 %/)
  expect(liveLine(at(1, 0), undefined)).toContain('0 reads/s')
})

test('the progress bar is full at the end', () => {
  expect(progressBar(0, 10)).not.toContain('█')
  expect(progressBar(10, 10)).not.toContain('░')
})

test('percentiles are right to a few hundredths', () => {
  const histogram = new LatencyHistogram()
  expect(histogram.percentileMs(0.5)).toBeNull()
  for (let value = 1; value <= 1_000; value++) histogram.record(value * 1_000)
  expect(histogram.percentileMs(0.5)).toBeCloseTo(0.5, 1)
  expect(Math.abs((histogram.percentileMs(0.99) ?? 0) / 0.99 - 1)).toBeLessThan(0.03)
  histogram.record(0)
  expect(histogram.percentileMs(0)).toBeLessThan(0.001)
})

test('no password is shown', () => {
  expect(maskUrl('postgres://me:secret@host:5432/db')).toBe('postgres://me:***@host:5432/db')
  expect(maskUrl('postgres://host/db?user=me&password=secret')).not.toContain('secret')
  expect(maskUrl('redis://127.0.0.1:6379')).toBe('redis://127.0.0.1:6379')
})

test('an environment that names no services is told which name is missing', () => {
  const config = readConfig({ DATABASE_URL: 'a', REDIS_URL: 'b' })
  const addresses = { databaseUrl: 'a', redisUrl: 'b', kafkaBrokers: undefined }
  expect(addressesOf(config, false)).toEqual(addresses)
  const withKafka = { ...config, kafkaBrokers: 'c:9092' }
  expect(addressesOf(withKafka, true)).toEqual({ ...addresses, kafkaBrokers: 'c:9092' })
  expect(addressesOf(withKafka, false)).toEqual(addresses)
  for (const [name, lacking] of Object.entries({
    DATABASE_URL: { ...withKafka, databaseUrl: undefined },
    REDIS_URL: { ...withKafka, redisUrl: undefined },
    KAFKA_BROKERS: config,
  })) {
    expect(() => addressesOf(lacking, true)).toThrow(`${name} is not set`)
  }
})

test('what a process did is not lost when another takes its place', () => {
  const tally = new Tally()
  for (const process of [0, 1]) tally.hear(process, progress)
  tally.hear(1, { ...progress, calls: 70 })
  tally.replaced(1)
  // Nothing has been heard of the next one either.
  tally.replaced(1)
  tally.hear(1, { ...progress, calls: 5 })
  expect(tally.sums).toMatchObject({ calls: 125, l1Hits: 180, failedWrites: 6 })
})

test('chaos is told, and what was cut off by it is forgiven up to a tenth', () => {
  const chaos = { kills: 2, stops: 1, faults: ['redis-cut', 'sigkill', 'sigstop'] }
  expect(tableOf(results({ chaos }))).toContain('2 processes killed, 1 stopped; redis-cut, sigkill')
  expect(tableOf(results())).not.toContain('chaos')
  expect(failureOf(results({ chaos, reads: 95, failedReads: 5 }), undefined)).toBeUndefined()
  expect(failureOf(results({ reads: 95, failedReads: 5 }), undefined)).toContain('5 reads failed')
  expect(failureOf(results({ chaos, reads: 85, failedReads: 15 }), undefined)).toContain('15 reads')
  expect(failureOf(results({ chaos, staleStrong: 1 }), undefined)).toContain('stale answers: 1')
})

describe('an attack', () => {
  const attack = {
    requests: 60_000,
    refused: 59_980,
    sourceQueries: 20,
    inDoubt: 0,
    falsePositives: 19,
    failed: 0,
    newRows: 540,
  }
  const run = (changes: Partial<typeof attack> = {}, others: Partial<DemoResults> = {}) =>
    results({ attack: { ...attack, ...changes }, ...others })

  test('is told in words, with what failed if anything has', () => {
    const table = tableOf(run())
    expect(table).toContain('60,000 ids that don’t exist: 59,980 refused (100.0 %), 20 reached')
    expect(table).toContain('19 false positives; 540 new rows were found')
    expect(table).not.toContain('failed,')
    expect(tableOf(run({ failed: 3 }))).toContain('20 reached the source, 3 failed')
    expect(tableOf(run({ inDoubt: 15 }))).toContain('source, 15 of them while Redis had no proof')
    expect(tableOf(results())).not.toContain('attack')
    expect(results()).not.toHaveProperty('attack')
  })

  test('is counted over all processes', () => {
    const both = sumUp([
      { ...progress, attack },
      { ...progress, attack },
    ])
    expect(both.attack).toMatchObject({ requests: 120_000, sourceQueries: 40, newRows: 1_080 })
  })

  test('fails the run when far more reaches the source than the filter is made to let through', () => {
    expect(failureOf(run(), undefined)).toBeUndefined()
    expect(failureOf(run({ sourceQueries: 1_300 }), undefined)).toBeUndefined()
    expect(failureOf(run({ sourceQueries: 1_301, inDoubt: 1 }), undefined)).toBeUndefined()
    const failure = failureOf(run({ sourceQueries: 1_301 }), undefined)
    expect(failure).toContain('1301 reached the source past the filter; at most 1300 would do')
  })

  test('and when there was none', () => {
    expect(failureOf(run({ requests: 0, refused: 0 }), undefined)).toContain('no attack')
    expect(failureOf(run({ refused: 0 }), undefined)).toContain('no attack')
  })

  test('and when a row that exists was refused, also in chaos, which is forgiven the rest', () => {
    const chaos = { kills: 1, stops: 1, faults: ['redis-evict'] }
    expect(failureOf(run({}, { absent: 1 }), undefined)).toContain('said not to exist: 1')
    expect(failureOf(run({}, { chaos, absent: 1 }), undefined)).toContain('said not to exist: 1')
    expect(failureOf(run({ sourceQueries: 30_000 }, { chaos }), undefined)).toBeUndefined()
  })
})
