/** `lockstep bench` on real services: its document, its exit codes, and that it leaves nothing behind. */
import { Redis } from 'ioredis'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { BenchResults } from '../../src/bench/bench.ts'
import type { Row } from '../../src/bench/row.ts'
import type { RowName } from '../../src/bench/row-plans.ts'
import { type Cli, cli } from '../support/cli.ts'
import { connect, sharedDatabase } from '../support/database.ts'
import { ownNamespace } from '../support/namespace.ts'
import { required, until } from '../support/world.ts'

/** Each runs a whole bench, on a machine that may be busy. */
vi.setConfig({ testTimeout: 60_000 })

/** Its numbers mean nothing; everything else is as always. */
const tiny = ['--rounds', '15', '--scale', '0.01']

function bench(args: readonly string[], environment?: NodeJS.ProcessEnv): Cli {
  return cli(['bench', ...args], environment)
}

async function benchOf(...only: readonly string[]): Promise<BenchResults> {
  const { code, stdout, stderr } = await bench(['--json', '--only', only.join(','), ...tiny]).ended
  if (code !== 0) throw new Error(stderr)
  return JSON.parse(stdout) as BenchResults
}

/** What every row has, whatever came out. */
function expectMeasured(row: Row): void {
  expect(row.reason).toBeUndefined()
  expect(row.value).not.toBeNull()
  expect(typeof row.met).toBe(row.target === null ? 'object' : 'boolean')
  expect(row.spread).toMatchObject({ of: 'interquartile range', rounds: expect.any(Number) })
  expect(row.against.length).toBeGreaterThan(20)
}

describe('lockstep bench --json', () => {
  test('one document: the machine, the commit, and the rows that were asked for', async () => {
    const compared: readonly RowName[] = [
      'l1.peek',
      'l2.hit.c1',
      'fill.c32',
      'write.c1',
      'trigger.one',
      'trigger.bulk',
    ]
    const counted: readonly RowName[] = ['l2.hit.commands', 'l2.envelope', 'get-many.commands']
    const { machine, commit, rows } = await benchOf(...compared, ...counted)
    expect(machine).toEqual({
      cpu: expect.any(String),
      cores: expect.any(Number),
      node: process.versions.node,
      postgres: expect.stringMatching(/^\d/),
      redis: expect.stringMatching(/^\d/),
      kafka: expect.stringMatching(/^\d/),
      load: expect.any(Number),
    })
    expect(commit).toMatch(/^[0-9a-f]{40}(-dirty)?$/)
    const names = [...compared, ...counted, 'l2.hit.c1-2kb', 'fill.c32-apart']
    expect(rows.map(({ name }) => name).sort()).toEqual(names.sort())
    for (const row of rows) {
      expectMeasured(row)
      if (counted.includes(row.name as RowName)) {
        // However busy the machine is.
        expect(row).toMatchObject({ ratio: null, met: true })
      } else {
        expect(row.ratio).toBeGreaterThan(0)
        expect(row.spread?.rounds).toBeGreaterThanOrEqual(15)
      }
    }
  })

  test('the heap is weighed in a process of its own', async () => {
    const { rows } = await benchOf('l1.heap')
    expect(rows).toHaveLength(1)
    for (const row of rows) expectMeasured(row)
  })

  test('writes are dropped from the L1 of other processes, and the relay empties the outbox', async () => {
    const { rows } = await benchOf('propagation.tail.p99-', 'relay.throughput.l2')
    expect(rows.map(({ name }) => name)).toEqual([
      'propagation.tail.p99-beside',
      'relay.throughput.l2',
    ])
    for (const row of rows) {
      expectMeasured(row)
      expect(row.value).toBeGreaterThan(0)
    }
  })

  test('a stampede, in one process and over several, is one load of one id', async () => {
    const { rows } = await benchOf('stampede.process')
    for (const row of rows) expectMeasured(row)
    const counts = rows.filter(({ unit }) => unit !== 'ms')
    expect(counts.map(({ name, value, met }) => ({ name, value, met }))).toEqual(
      ['process.loads', 'process.ids', 'processes.loads'].map((name) => {
        return { name: `stampede.${name}`, value: 1, met: true }
      }),
    )
    expect(rows).toHaveLength(4)
  })
})

/** Rows whose value is a promise however busy the machine is; the others need only be there. */
const promised: Partial<Record<RowName, number>> = {
  'stampede.eight-killed.loads': 2,
  'stampede.distinct.ids': 1,
  'bloom.bits': 16,
  'bloom.commands': 1,
  'bloom.false-negatives': 0,
  'avalanche.concurrent': 8,
}

describe('rows of what comes all at once', () => {
  test.each([
    ['cold ids', ['stampede.eight-killed', 'stampede.distinct'], 3],
    ['ids that nobody has', ['attack'], 3],
    ['filters', ['bloom.r', 'bloom.b', 'bloom.c', 'bloom.f', 'bloom.k'], 9],
    ['lost keys, and hot ones', ['avalanche', 'hot'], 6],
  ])('%s', async (_, only, count) => {
    const { rows } = await benchOf(...only)
    expect(rows).toHaveLength(count)
    for (const row of rows) {
      expectMeasured(row)
      const most = promised[row.name as RowName]
      if (most !== undefined) expect(row.value, row.name).toBeLessThanOrEqual(most)
    }
  })
})

test('without Redis it says which rows it can’t measure, and why, and measures the others', async () => {
  const [down, other] = await Promise.all([
    bench(['--json', '--only', 'l1.peek,l2.envelope,l2.hit.c32', ...tiny], {
      REDIS_URL: 'redis://:secret@127.0.0.1:1',
    }).ended,
    bench(['--only', 'l2.envelope', '--check', ...tiny], { REDIS_URL: 'redis://127.0.0.1:1' })
      .ended,
  ])
  expect(down).toMatchObject({ code: 0, stderr: expect.stringMatching(/Redis .*can't be reached/) })
  expect(down.stdout + down.stderr).not.toContain('secret')
  const { machine, rows } = JSON.parse(down.stdout) as BenchResults
  expect(machine.redis).toBeNull()
  for (const { name, value, met, reason } of rows) {
    if (name.startsWith('l1.')) expect(value).toBeGreaterThan(0)
    else expect({ value, met, reason }).toMatchObject({ value: null, met: null })
    if (name.startsWith('l2.')) expect(reason).toMatch(/can't be reached/)
  }
  expect(rows).toHaveLength(4)
  // With --check a target that could not be measured is one that was not met.
  expect(other).toMatchObject({ code: 1, stderr: expect.stringContaining('not met: l2.envelope') })
})

test('used wrongly: exit code 2, and the option is named', async () => {
  const bad = [
    [['--rounds', '3'], '--rounds'],
    [['--only', 'l3'], '--only'],
    [['--scale', '0'], '--scale'],
    [['--sclae', '1'], '--sclae'],
  ] as const
  const runs = bad.map(async ([args, name]) => ({ name, ...(await bench(args).ended) }))
  for (const { code, stdout, stderr, name } of await Promise.all(runs)) {
    expect({ name, code, stdout }).toEqual({ name, code: 2, stdout: '' })
    expect(stderr).toContain(name)
  }
})

test('PostgreSQL is down: exit code 1, and a reason', async () => {
  const url = 'postgres://postgres:secret@127.0.0.1:1/shop'
  const { code, stdout, stderr } = await bench(['--json'], { DATABASE_URL: url }).ended
  expect(code).toBe(1)
  expect(JSON.parse(stdout).error.message).toContain('PostgreSQL')
  expect(stdout + stderr).not.toContain('secret')
})

test('stopped by Ctrl-C it leaves no table, no row and no key', async () => {
  const client = await connect(await sharedDatabase())
  const redis = new Redis(required('REDIS_URL'))
  onTestFinished(() => redis.disconnect())
  const namespace = `${ownNamespace()}:bench`
  const left = async (): Promise<object> => ({
    tables: (await client.query(`select to_regclass('lockstep_bench.cities_200') as t`)).rows[0].t,
    namespaces: (
      await client.query('select count(*)::int as c from lockstep.namespaces where name = $1', [
        namespace,
      ])
    ).rows[0].c,
    values: await redis.exists(`${namespace}:{city-200:1}:v1`, `${namespace}:bare:200:1`),
  })
  const { child, ended } = bench(['--only', 'l2.hit.c1', '--rounds', '1000'])
  await until(
    'it is at work',
    async () => ((await left()) as { values: number }).values === 2,
    20_000,
  )
  expect(await left()).toMatchObject({ tables: expect.any(String), namespaces: 1 })
  child.kill('SIGINT')
  expect(await ended).toMatchObject({ code: 1, stderr: expect.stringContaining('SIGINT') })
  expect(await left()).toEqual({ tables: null, namespaces: 0, values: 0 })
})
