/** The demo finds no stale answer, and would: the same work over a broken part is found out. */
import { type ChildProcess, execFileSync } from 'node:child_process'
import { setTimeout } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { loadCities } from '../../src/demo/cities.ts'
import { Docket } from '../../src/demo/docket.ts'
import { writeForeign } from '../../src/demo/foreign.ts'
import type { FromWorker, Progress, WorkerSettings } from '../../src/demo/messages.ts'
import type { Verdict } from '../../src/demo/oracle.ts'
import { seededRandom } from '../../src/demo/random.ts'
import { openShift, type Shift, trafficOf } from '../../src/demo/shift.ts'
import { assemble } from '../../src/lockstep.ts'
import { openPool } from '../../src/postgres/pool.ts'
import { installTriggers, removeTriggers } from '../../src/postgres/triggers.ts'
import type { Parts } from '../../src/running-cache.ts'
import { withBrokenInvalidation, withBrokenL2, withDeafL1 } from '../support/broken-invalidation.ts'
import { bin, cli } from '../support/cli.ts'
import { connect, emptyDatabase, sharedDatabase } from '../support/database.ts'
import { removeTopicAtEnd, sharedKafka } from '../support/kafka.ts'
import { ownNamespace } from '../support/namespace.ts'
import { withoutFastPlane } from '../support/parts.ts'
import { required, until } from '../support/world.ts'

/** Ends the connection of whoever relays in that namespace. */
const endRelay = `
  select pg_terminate_backend(pid) from pg_locks
  where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())
    and (classid::bigint << 32 | objid::bigint) = hashtextextended('lockstep relay ' || $1, 0)`

describe('lockstep demo --json', () => {
  test('several processes, three tiers, and no answer is stale', async () => {
    const { code, stdout, stderr } = await cli(['demo', '--seconds', '3', '--json']).ended
    if (code !== 0) throw new Error(stderr)
    const results = JSON.parse(stdout)
    expect(results).toMatchObject({
      seconds: 3,
      processes: 3,
      staleStrong: 0,
      staleBeyondBound: 0,
      absent: 0,
      services: {
        postgres: { version: expect.any(String), url: expect.stringMatching(/^postgres/) },
        redis: { version: expect.any(String), url: expect.stringMatching(/^redis/) },
      },
    })
    const { reads, writes, hits, misses, hitRatio, loads, sourceQueries, latencyMs } = results
    for (const served of [hits.l1, hits.l2, misses]) expect(served / reads).toBeGreaterThan(0.01)
    expect(hits.l1 + hits.l2 + misses).toBe(reads)
    expect(hitRatio).toBeCloseTo((hits.l1 + hits.l2) / reads, 3)
    expect(writes / (reads + writes)).toBeGreaterThan(0.01)
    expect(writes / (reads + writes)).toBeLessThan(0.04)
    expect(loads).toBeGreaterThan(0)
    expect(sourceQueries).toBe(loads)
    expect(results.crossProcessChecks).toBeGreaterThan(0)
    expect(results.maxStaleMs).toBeLessThanOrEqual(1_000)
    expect(results.throughput).toBeCloseTo(reads / 3, 0)
    for (const tier of ['l1', 'l2', 'source']) {
      expect(latencyMs[tier].p50).toBeGreaterThan(0)
      expect(latencyMs[tier].p99).toBeGreaterThanOrEqual(latencyMs[tier].p50)
    }
  })

  test('plain SQL under it, of which triggers tell, and no answer is stale', async () => {
    const args = ['demo', '--foreign', '--seconds', '3', '--processes', '2', '--json']
    const { code, stdout, stderr } = await cli(args).ended
    if (code !== 0) throw new Error(stderr)
    const results = JSON.parse(stdout)
    expect(results).toMatchObject({ staleStrong: 0, staleBeyondBound: 0, absent: 0 })
    expect(results.foreignWrites).toBeGreaterThan(20)
  })

  test('on Kafka, while the relay is cut off and a process is stopped: the screen says so, and no answer is stale', async () => {
    const namespace = `${ownNamespace()}-demo-kafka`
    removeTopicAtEnd(`lockstep.${namespace}`)
    const args = ['demo', '--kafka', '--foreign', '--seconds', '7', '--processes', '2', '--json']
    const { child, ended } = cli(args)
    let screen = ''
    child.stderr?.on('data', (text: string) => {
      screen += text
    })
    const client = await connect(await sharedDatabase())
    await until('the screen says that somebody relays no longer', async () => {
      await client.query(endRelay, [namespace])
      return screen.includes('relays no longer')
    })
    await until('somebody relays', () => screen.includes('relays now'))
    const [worker] = await workersOf(child)
    process.kill(worker as number, 'SIGSTOP')
    await setTimeout(1_500)
    process.kill(worker as number, 'SIGCONT')
    const { code, stdout, stderr } = await ended
    if (code !== 0) throw new Error(stderr)
    const results = JSON.parse(stdout)
    expect(results).toMatchObject({ staleStrong: 0, staleBeyondBound: 0, absent: 0 })
    expect(results.foreignWrites).toBeGreaterThan(20)
    const { version, url } = results.services.kafka
    expect({ version, url }).toEqual({
      version: expect.stringMatching(/^\d/),
      url: sharedKafka().join(','),
    })
  })

  test('under attack: a Bloom filter keeps ids that do not exist from the source, and no new row is refused', async () => {
    const args = ['demo', '--attack', '--seconds', '6', '--processes', '2', '--json']
    const { code, stdout, stderr } = await cli(args).ended
    if (code !== 0) throw new Error(stderr)
    const { attack, ...results } = JSON.parse(stdout)
    expect(results).toMatchObject({ staleStrong: 0, staleBeyondBound: 0, absent: 0 })
    const { reads, hits, misses } = results
    expect(hits.l1 + hits.l2 + misses).toBe(reads)
    expect(attack.requests).toBeGreaterThan(500)
    expect(attack.refused / attack.requests).toBeGreaterThan(0.5)
    expect(attack.sourceQueries - attack.inDoubt).toBeLessThanOrEqual(100 + 0.02 * attack.requests)
    expect(attack.falsePositives).toBeLessThan(10 + 0.01 * attack.requests)
    expect(attack.newRows).toBeGreaterThan(10)
    const client = await connect(await sharedDatabase())
    const { rows } = await client.query('select max(id) as last from lockstep_demo.cities')
    expect(rows[0].last).toBe(results.rows)
  }, 60_000)

  test.each(['outbox', 'kafka'])(
    'chaos on the plane %s: processes die, connections break, keys vanish, and no answer is stale',
    async (plane) => {
      if (plane === 'kafka') removeTopicAtEnd(`lockstep.${ownNamespace()}-demo-kafka`)
      const args = ['demo', '--chaos', '--seconds', '12', '--processes', '2', '--json']
      const { code, stdout, stderr } = await cli(plane === 'kafka' ? [...args, '--kafka'] : args)
        .ended
      if (code !== 0) throw new Error(stderr)
      const { chaos, ...results } = JSON.parse(stdout)
      expect(results).toMatchObject({ staleStrong: 0, staleBeyondBound: 0, absent: 0 })
      expect(results.crossProcessChecks).toBeGreaterThan(0)
      // On a busy machine a new process takes seconds to start.
      expect(chaos.faults.length).toBeGreaterThan(1)
      for (const line of stderr.matchAll(/chaos: .*/g)) expect(line[0]).not.toContain('failed')
      expect(stderr).toMatch(/ s {3}chaos: /)
    },
    60_000,
  )

  test('used wrongly: exit code 2, and the option is named', async () => {
    const bad = [
      [['demo', '--seconds', 'soon'], '--seconds'],
      [['demo', '--processes', '0'], '--processes'],
      [['demo', '--writes', '2'], '--writes'],
      [['demo', '--trace', '/nowhere'], '--trace'],
      [['demo', '--trace', bin], '--trace'],
      [['demo', '--sconds', '3'], '--sconds'],
      [['dmo'], 'dmo'],
    ] as const
    const runs = bad.map(async ([args, name]) => ({ name, ...(await cli(args).ended) }))
    for (const { code, stdout, stderr, name } of await Promise.all(runs)) {
      expect({ name, code, stdout }).toEqual({ name, code: 2, stdout: '' })
      expect(stderr).toContain(name)
    }
  })

  test('--kafka without brokers: exit code 2, and the variable is named', async () => {
    const { code, stderr } = await cli(['demo', '--kafka'], { KAFKA_BROKERS: '' }).ended
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('KAFKA_BROKERS') })
  })

  test('a service that is down: exit code 1, a reason, and one JSON document', async () => {
    const down = [
      { REDIS_URL: 'redis://:secret@127.0.0.1:1' },
      { DATABASE_URL: 'postgres://postgres:secret@127.0.0.1:1/shop' },
      { KAFKA_BROKERS: '127.0.0.1:1' },
    ]
    const runs = down.map(
      async (environment) =>
        await cli(['demo', '--json', ...('KAFKA_BROKERS' in environment ? ['--kafka'] : [])], {
          ...environment,
        }).ended,
    )
    for (const [index, { code, stdout, stderr }] of (await Promise.all(runs)).entries()) {
      expect(code).toBe(1)
      const what = ['Redis', 'PostgreSQL', 'Kafka'][index] as string
      expect(JSON.parse(stdout).error.message).toContain(what)
      expect(stderr).toContain(what)
      expect(stdout + stderr).not.toContain('secret')
    }
  })
})

test('lockstep migrate says what it ran, and then that there is nothing to do', async () => {
  const environment = { DATABASE_URL: await emptyDatabase() }
  const first = await cli(['migrate', '--json'], environment).ended
  expect(first).toMatchObject({ code: 0, stderr: '' })
  expect(JSON.parse(first.stdout).ran).toContain('0001_outbox.sql')
  const second = await cli(['migrate'], environment).ended
  expect(second).toEqual({ code: 0, stdout: 'up to date\n', stderr: '' })
})

describe('no process outlives the demo', () => {
  test('when it is stopped by Ctrl-C', async () => {
    const { child, ended } = cli(['demo', '--seconds', '60', '--processes', '2'])
    const workers = await workersOf(child)
    child.kill('SIGINT')
    expect(await ended).toMatchObject({ code: 1, stderr: expect.stringContaining('SIGINT') })
    expect(workers.filter(isAlive)).toEqual([])
  })

  test('when one of its processes dies', async () => {
    const { child, ended } = cli(['demo', '--seconds', '60', '--processes', '2', '--json'])
    const workers = await workersOf(child)
    process.kill(workers[1] as number, 'SIGKILL')
    const { code, stdout } = await ended
    expect(code).toBe(1)
    expect(JSON.parse(stdout).error.message).toMatch(/^process \d ended with SIGKILL$/)
    expect(workers.filter(isAlive)).toEqual([])
  })

  test('when the demo itself is killed', async () => {
    const { child } = cli(['demo', '--seconds', '60', '--processes', '2'])
    const workers = await workersOf(child)
    child.kill('SIGKILL')
    await until('the workers have gone', () => workers.every((pid) => !isAlive(pid)))
  })
})

describe('the oracle', () => {
  test('finds nothing where no part is broken', async () => {
    const enough = ({ crossProcessChecks }: Verdict): boolean => crossProcessChecks > 200
    const { verdict, progress } = await twoShifts((parts) => parts, enough)
    expect(verdict).toMatchObject({ staleStrong: 0, staleBeyondBound: 0, examples: [] })
    for (const one of progress) expect(one).toMatchObject({ absent: 0, firstFailure: undefined })
  })

  test('finds stale strong reads where Redis drops nothing', async () => {
    const { verdict } = await twoShifts(withBrokenL2, ({ staleStrong }) => staleStrong > 0)
    expect(verdict.staleStrong).toBeGreaterThan(0)
  })

  test('finds reads beyond the bound where L1 is told of nothing', async () => {
    const found = ({ staleBeyondBound }: Verdict): boolean => staleBeyondBound > 0
    const { verdict } = await twoShifts(withDeafL1, found)
    expect(verdict.staleBeyondBound).toBeGreaterThan(0)
    expect(verdict.maxStaleMs).toBeGreaterThan(1_000)
  })

  test('finds reads beyond the bound where nobody tells of plain SQL, and none with triggers', async () => {
    const found = ({ staleBeyondBound }: Verdict): boolean => staleBeyondBound > 0
    const asItIs = (parts: Parts): Parts => parts
    const untold = await twoShifts(asItIs, found, 'without triggers')
    expect(untold.verdict.staleBeyondBound).toBeGreaterThan(0)
    const enough = ({ crossProcessChecks }: Verdict): boolean => crossProcessChecks > 2_000
    const told = await twoShifts(asItIs, enough, 'with triggers')
    expect(told.verdict).toMatchObject({ staleStrong: 0, staleBeyondBound: 0, examples: [] })
  })

  test('finds both where both are broken, whatever is told over Pub/Sub', async () => {
    const broken = (parts: Parts): Parts => withoutFastPlane(withBrokenInvalidation(parts))
    const found = (verdict: Verdict): boolean =>
      verdict.staleStrong > 0 && verdict.staleBeyondBound > 0
    const { verdict } = await twoShifts(broken, found)
    expect(found(verdict)).toBe(true)
    expect(verdict.examples.length).toBeGreaterThan(0)
  })
})

test('the cities are loaded once, by one of those who begin at the same time', async () => {
  const pool = openPool(await emptyDatabase())
  onTestFinished(() => pool.close())
  const { signal } = new AbortController()
  const gone = new AbortController()
  const broken = loadCities(
    pool,
    { waiting: () => {}, loaded: (done) => done > 0 && gone.abort(new Error('gone')) },
    gone.signal,
  )
  await expect(broken).rejects.toThrow('gone')

  const told: string[] = []
  const report = { waiting: () => told.push('waiting'), loaded: () => told.push('loaded') }
  const counts = await Promise.all([1, 2].map(() => loadCities(pool, report, signal)))
  const { rows } = await pool.knex.raw(
    `select count(*)::int as cities, max(id) as last, count(distinct country)::int as countries
     from lockstep_demo.cities`,
  )
  expect(rows).toEqual([{ cities: counts[0], last: counts[0], countries: expect.any(Number) }])
  expect(counts).toEqual([counts[0], counts[0]])
  expect(counts[0]).toBeGreaterThan(100_000)
  expect(told.filter((one) => one === 'waiting')).toHaveLength(1)

  told.length = 0
  expect(await loadCities(pool, report, signal)).toBe(counts[0])
  expect(told).toEqual([])
})

// ---------------------------------------------------------------- two shifts in this process

/** So few that both are often at the same one. */
const rows = 300
const mostSeconds = 20

/**
 * What the demo's processes do, over caches with replaced parts, judged as the demo judges: until
 * `enough` has been found.
 */
async function twoShifts(
  replace: (parts: Parts) => Parts,
  enough: (verdict: Verdict) => boolean,
  foreign?: 'with triggers' | 'without triggers',
): Promise<{ verdict: Verdict; progress: readonly Progress[] }> {
  const databaseUrl = await databaseWithCities()
  const docket = new Docket(2, 1_000, foreign !== undefined)
  const found = new AbortController()
  const progress: Progress[] = []
  const shifts: Shift[] = []
  const hear = (process: number, message: FromWorker): void => {
    if (message.kind === 'hand') shifts[1 - process]?.take(message.hand)
    if (message.kind !== 'history') return
    docket.add(process, message.chunk, message.untilNs)
    progress[process] = message.progress
    if (enough(docket.verdict)) found.abort()
  }
  for (const process of [0, 1]) {
    const shift = await openShift(
      settingsOf(process, databaseUrl, foreign !== undefined),
      async (message) => hear(process, message),
      (options) => assemble(options, replace),
    )
    shifts.push(shift)
    onTestFinished(() => shift.close())
  }
  const epochNs = process.hrtime.bigint()
  const over = new AbortController()
  const writing = foreign && writeAsForeigner(foreign, databaseUrl, docket, epochNs, over.signal)
  await Promise.all(shifts.map((shift) => shift.run(epochNs, mostSeconds, found.signal)))
  over.abort()
  await writing
  return { verdict: docket.verdict, progress }
}

async function writeAsForeigner(
  how: 'with triggers' | 'without triggers',
  databaseUrl: string,
  docket: Docket,
  epochNs: bigint,
  signal: AbortSignal,
): Promise<void> {
  const pool = openPool(databaseUrl)
  const table = 'lockstep_demo.cities'
  try {
    if (how === 'with triggers') await installTriggers(pool, { table, entity: 'city', id: 'id' })
    else await removeTriggers(pool, table)
    const traffic = trafficOf(settingsOf(0, databaseUrl), seededRandom(1))
    const hear = (chunk: Uint8Array, untilNs: number) => docket.add(2, chunk, untilNs)
    await writeForeign({ pool, traffic, epochNs, hear }, signal)
  } finally {
    await pool.close()
  }
}

function settingsOf(process: number, databaseUrl: string, foreign = false): WorkerSettings {
  return {
    databaseUrl,
    redisUrl: required('REDIS_URL'),
    kafkaBrokers: undefined,
    namespace: ownNamespace(),
    logLevel: 'silent',
    rows,
    process,
    isSuccessor: false,
    processes: 2,
    writeShare: 0.05,
    foreign,
    attack: false,
    trace: undefined,
    seed: 1,
  }
}

async function databaseWithCities(): Promise<string> {
  const databaseUrl = await sharedDatabase()
  const pool = openPool(databaseUrl)
  try {
    const silent = { waiting: () => {}, loaded: () => {} }
    await loadCities(pool, silent, new AbortController().signal)
    return databaseUrl
  } finally {
    await pool.close()
  }
}

// ---------------------------------------------------------------- processes

/** The pids of both workers, once they are at work. */
async function workersOf(demo: ChildProcess): Promise<readonly number[]> {
  let workers: readonly number[] = []
  await until(
    'the demo has two processes',
    () => {
      workers = childrenOf(demo.pid as number)
      return workers.length === 2
    },
    25_000,
  )
  return workers
}

function childrenOf(pid: number): readonly number[] {
  return execFileSync('ps', ['-A', '-o', 'pid=,ppid=,args='], { encoding: 'utf8' })
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, parent, ...args]) => Number(parent) === pid && args.join(' ').includes('worker'))
    .map(([child]) => Number(child))
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
