/** The bench, from its stage to its rows: what each row means is in docs/benchmarks.md. */
import type { Config } from '../config.ts'
import type { Screen } from '../demo/screen.ts'
import { LockstepError } from '../model/errors.ts'
import { commandLog } from '../telemetry/log.ts'
import { measureAttack } from './attack.ts'
import { measureAvalanche } from './avalanche.ts'
import type { BenchOptions } from './bench-options.ts'
import { measureBloom } from './bloom.ts'
import { measureBuilds, measureLongBuild } from './bloom-build.ts'
import { commitOf } from './commit.ts'
import { type Effort, NotMeasured } from './contest.ts'
import { measureDelayedDelete } from './delayed-delete.ts'
import { measureDistinct } from './distinct.ts'
import { fillRows, measureFill } from './fill.ts'
import { measureHeap } from './heap.ts'
import { measureHotKey } from './hot.ts'
import { l1Rows, measureL1 } from './l1.ts'
import {
  hitRows,
  measureEnvelope,
  measureGetMany,
  measureGetManyCommands,
  measureHitCommands,
  measureHits,
  measureHitsWithout,
} from './l2.ts'
import { leftOutRows } from './left-out.ts'
import { measurePropagation, propagationRows } from './propagation.ts'
import { measureDrain, measureRelay } from './relay.ts'
import { type Row, unmeasuredRow } from './row.ts'
import { planOf, type RowName } from './row-plans.ts'
import { type Machine, onStage, type Stage } from './stage.ts'
import { measureInProcess, measureOverProcesses, measureOwnerKilled } from './stampede.ts'
import { measureTrigger, triggerRows } from './triggers.ts'
import { measureWrite } from './write.ts'

export interface BenchResults {
  readonly machine: Machine
  /** `null`: not a clone. */
  readonly commit: string | null
  readonly rows: readonly Row[]
}

interface Measurement {
  readonly names: readonly RowName[]
  run(stage: Stage, effort: Effort & { readonly scale: number }): Promise<readonly Row[]>
}

const measurements: readonly Measurement[] = [
  ...named(l1Rows, measureL1),
  one('l1.heap', measureHeap),
  ...named(hitRows, measureHits),
  ...named(leftOutRows, measureHitsWithout),
  one('l2.hit.commands', measureHitCommands),
  one('l2.envelope', measureEnvelope),
  ...named({ 'get-many.100': 200, 'get-many.100-2kb': 2_048 }, measureGetMany),
  one('get-many.commands', measureGetManyCommands),
  ...named(fillRows, measureFill),
  one('write.c1', measureWrite),
  ...named(triggerRows, measureTrigger),
  ...propagationRows.map(
    ({ how, names }): Measurement => ({
      names,
      run: (stage, effort) => measurePropagation(how, stage, effort),
    }),
  ),
  { names: ['delayed-delete.cost', 'delayed-delete.plain'], run: measureDelayedDelete },
  one('relay.throughput.l2', (stage, effort) => measureRelay('l2', stage, effort)),
  one('relay.throughput.log', (stage, effort) => measureRelay('log', stage, effort)),
  { names: ['relay.drain.rate', 'relay.drain.heap', 'relay.drain.rss'], run: measureDrain },
  { names: ['stampede.process.loads', 'stampede.process.ids'], run: measureInProcess },
  {
    names: ['stampede.processes.loads', 'stampede.processes.wait'],
    run: (stage, effort) => measureOverProcesses('processes', stage, effort),
  },
  {
    names: ['stampede.owner-killed.loads', 'stampede.owner-killed.wait'],
    run: (stage, effort) => measureOwnerKilled('processes', stage, effort),
  },
  {
    names: ['stampede.eight.loads', 'stampede.eight.wait'],
    run: (stage, effort) => measureOverProcesses('eight', stage, effort),
  },
  {
    names: ['stampede.eight-killed.loads', 'stampede.eight-killed.wait'],
    run: (stage, effort) => measureOwnerKilled('eight', stage, effort),
  },
  one('stampede.distinct.ids', measureDistinct),
  { names: ['attack.loads', 'attack.p99', 'attack.p99-inside'], run: measureAttack },
  {
    names: ['bloom.rate', 'bloom.rate-off', 'bloom.bits', 'bloom.check', 'bloom.commands'],
    run: measureBloom,
  },
  {
    names: ['bloom.false-negatives', 'bloom.rebuild', 'bloom.rebuild-cpu', 'bloom.killed.kept'],
    run: measureBuilds,
  },
  {
    names: [
      'bloom.long.false-negatives',
      'bloom.long.rate-off',
      'bloom.long.bits',
      'bloom.long.rebuild',
      'bloom.long.rebuild-cpu',
    ],
    run: measureLongBuild,
  },
  {
    names: ['avalanche.concurrent', 'avalanche.goodput', 'avalanche.hits', 'avalanche.recovery'],
    run: measureAvalanche,
  },
  { names: ['hot.spread', 'hot.lookups'], run: measureHotKey },
]

/** Rejects when it can't begin, when a part of it fails, or with the signal's reason. */
export function bench(
  options: BenchOptions,
  config: Config,
  screen: Screen,
  signal: AbortSignal,
): Promise<BenchResults> {
  const log = commandLog('lockstep bench', config.logLevel)
  return onStage(config, log, signal, async (stage) => {
    if (stage.withoutRedis) screen.line(`Rows that need Redis are left out: ${stage.withoutRedis}.`)
    if (stage.withoutKafka) screen.line(`Rows that need Kafka are left out: ${stage.withoutKafka}.`)
    const rows: Row[] = []
    const effort = { ...options, signal, nowMs: () => performance.now() }
    for (const measurement of measurements) {
      const wanted = measurement.names.filter((name) => options.names.includes(name))
      if (wanted.length === 0) continue
      screen.live(`Measuring ${wanted.join(', ')} …`)
      rows.push(...(await rowsOf(measurement, wanted, stage, effort)))
      signal.throwIfAborted()
    }
    screen.live('')
    return { machine: stage.machine, commit: await commitOf(), rows }
  })
}

async function rowsOf(
  { run }: Measurement,
  wanted: readonly RowName[],
  stage: Stage,
  effort: Effort & { readonly scale: number },
): Promise<readonly Row[]> {
  const without = (reason: string): readonly Row[] =>
    wanted.map((name) => unmeasuredRow(name, reason))
  if (stage.withoutRedis && wanted.some((name) => planOf(name).needsRedis)) {
    return without(stage.withoutRedis)
  }
  if (stage.withoutKafka && wanted.some((name) => planOf(name).needsKafka)) {
    return without(stage.withoutKafka)
  }
  try {
    const rows = await run(stage, effort)
    return rows.filter(({ name }) => wanted.includes(name as RowName))
  } catch (error) {
    effort.signal.throwIfAborted()
    // A deadline that passed on a busy machine is no reason to lose the other rows.
    const isRowOnly =
      error instanceof NotMeasured || (error instanceof LockstepError && error.retryable)
    if (!isRowOnly) throw error
    return without(error.message)
  }
}

function one(
  name: RowName,
  measure: (stage: Stage, effort: Effort & { readonly scale: number }) => Promise<Row>,
): Measurement {
  return { names: [name], run: async (stage, effort) => [await measure(stage, effort)] }
}

/** A measurement for each row of a table. */
function named<Name extends RowName>(
  rows: Readonly<Record<Name, unknown>>,
  measure: (name: Name, stage: Stage, effort: Effort & { readonly scale: number }) => Promise<Row>,
): readonly Measurement[] {
  return (Object.keys(rows) as Name[]).map((name) =>
    one(name, (stage, effort) => measure(name, stage, effort)),
  )
}
