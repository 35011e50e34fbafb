/** The `lockstep` command: exit code 0 done, 1 failed, 2 used wrongly. */
import { Command, CommanderError } from 'commander'
import { type BenchResults, bench } from './bench/bench.ts'
import { type BenchArguments, benchDefaults, parseBenchOptions } from './bench/bench-options.ts'
import { isFailure } from './bench/row.ts'
import { tableOf as benchTableOf } from './bench/table.ts'
import { runBloomCheck, runBloomRebuild, runBloomStatus } from './bloom-command.ts'
import {
  answering,
  complain,
  done,
  failed,
  type JsonOption,
  onSchema,
  print,
  untilSignalled,
  usedWrongly,
  withPool,
} from './command-line.ts'
import { readConfig } from './config.ts'
import { type DemoOutcome, demo } from './demo/demo.ts'
import { type DemoArguments, demoDefaults, parseDemoOptions } from './demo/demo-options.ts'
import { screenOn } from './demo/screen.ts'
import { tableOf } from './demo/table.ts'
import { runDoctor } from './doctor-command.ts'
import {
  type ChangeArguments,
  type ListArguments,
  runFlagsLadder,
  runFlagsList,
  runFlagsSet,
  runFlagsUnset,
} from './flags-command.ts'
import { runDeadLettersList, runDeadLettersReplay, runInvalidate } from './invalidate-command.ts'
import { flagNames, ladder } from './model/flags.ts'
import { migrate } from './postgres/migrations.ts'
import { installTriggers, listTriggers, removeTriggers } from './postgres/triggers.ts'
import { parseServeOptions, type ServeArguments, serve, wordsOfServe } from './serve.ts'
import { runTop, topDefaults } from './top-command.ts'
import { installedText, isIncomplete, listedText, removedText } from './triggers-command.ts'

const program = new Command('lockstep')
  .description('A cache coordinator over a per-process cache, Redis and PostgreSQL.')
  .exitOverride()

program
  .command('demo')
  .description('several processes read and write real rows, and every answer is checked')
  .option('--seconds <number>', 'how long it runs', demoDefaults.seconds)
  .option('--processes <number>', 'how many processes read and write', demoDefaults.processes)
  .option('--writes <share>', 'share of the accesses that are writes', demoDefaults.writes)
  .option('--foreign', 'somebody else writes plain SQL meanwhile, and triggers tell of it')
  .option('--kafka', 'on the durable plane with Kafka, at KAFKA_BROKERS')
  .option('--chaos', 'its processes are killed and stopped, its connections cut, its keys deleted')
  .option('--attack', 'somebody asks for ids that don’t exist, and a Bloom filter refuses them')
  .option('--trace <file>', 'accesses to replay: gzip of little-endian uint32 keys')
  .option('--json', 'one JSON document on stdout')
  .action(runDemo)

program
  .command('bench')
  .description('the cache against bare Maps, bare Redis and bare transactions, in numbers')
  .option('--only <prefixes>', 'rows whose names begin so: l1,l2.hit')
  .option(
    '--rounds <number>',
    'rounds of each row, where both sides take turns',
    benchDefaults.rounds,
  )
  .option(
    '--scale <number>',
    'size of a round: smaller is quicker and noisier',
    benchDefaults.scale,
  )
  .option('--check', 'exit code 1 when a target is missed')
  .option('--json', 'one JSON document on stdout')
  .action(runBench)

program
  .command('migrate')
  .description('bring the schema "lockstep" of the database at DATABASE_URL up to date')
  .option('--json', 'one JSON document on stdout')
  .action(runMigrate)

const triggers = program
  .command('triggers')
  .description('triggers by which any SQL on a table is heard of')

triggers
  .command('install')
  .description('add what is missing, on the table and on its partitions')
  .argument('<table>', 'as in SQL: cities, shop.cities')
  .requiredOption('--entity <name>', 'what its rows are cached as')
  .requiredOption('--id <format>', "a column, or a format of several: '{tenant}:{id}'")
  .option('--json', 'one JSON document on stdout')
  .action(runInstall)

triggers
  .command('list')
  .description('which tables have them, and whether all of their partitions do')
  .argument('[table]', 'only this one')
  .option('--check', 'exit code 1 when some are missing')
  .option('--json', 'one JSON document on stdout')
  .action(runList)

triggers
  .command('remove')
  .description('remove all of a table')
  .argument('<table>', 'as in SQL: cities, shop.cities')
  .option('--json', 'one JSON document on stdout')
  .action(runRemove)

program
  .command('serve')
  .description('relay, delayed deletes and events of others in a process of its own, with metrics')
  .option('--host <address>', 'where it answers over HTTP: LOCKSTEP_SERVE_HOST, or 127.0.0.1')
  .option('--port <number>', 'LOCKSTEP_SERVE_PORT, or 9464; 0 for any')
  .option('--json', 'one JSON document on stdout when it serves')
  .action(runServe)

program
  .command('doctor')
  .description('what is broken in the configuration, and what to do about it (docs/doctor.md)')
  .option('--namespace <name>', 'whose: LOCKSTEP_NAMESPACE')
  .option('--json', 'one JSON document on stdout')
  .action(runDoctor)

program
  .command('invalidate')
  .description('every tier drops these ids: for writes that have committed elsewhere')
  .argument('<entity>', 'as the cache names it')
  .argument('<id...>', 'as the entity has them as text')
  .option('--namespace <name>', 'only this one; else all that have the entity')
  .option('--json', 'one JSON document on stdout')
  .action(runInvalidate)

const flags = program
  .command('flags')
  .description('what is switched off for a while, by whom, and why (docs/flags.md)')

flags
  .command('list')
  .description('all that are set, and which instances apply them')
  .option('--history', 'who changed what, of the last 90 days, instead')
  .option('--limit <number>', 'of the history', '100')
  .option('--namespace <name>', 'whose: LOCKSTEP_NAMESPACE')
  .option('--json', 'one JSON document on stdout')
  .action((options: JsonOption & ListArguments) => runFlagsList(options))

const change = (command: Command): Command =>
  command
    .option('--reason <text>', 'why')
    .option('--author <name>', 'who; else the user of this process')
    .option('--entity <name>', 'for this one; else for all')
    .option('--instance <name>', 'for this one, as the list names it; else for all')
    .option('--namespace <name>', 'whose: LOCKSTEP_NAMESPACE')
    .option('--json', 'one JSON document on stdout')

change(flags.command('set'))
  .description('set one, or set it anew')
  .argument('<flag>', flagNames.join(', '))
  .option('--for <duration>', 'when it ends by itself: 10m, 2h, up to 7d')
  .action((flag: string, options: JsonOption & ChangeArguments) => runFlagsSet(flag, options))

change(flags.command('unset'))
  .description('unset what was set for the same entity and instance')
  .argument('<flag>', 'as the list names it')
  .action((flag: string, options: JsonOption & ChangeArguments) => runFlagsUnset(flag, options))

change(flags.command('ladder'))
  .description('go to a step of the ladder: 0 is normal')
  .argument('<step>', ladder.map(({ name }, step) => `${step} ${name}`).join(', '))
  .option('--for <duration>', 'when it ends by itself: 10m, 2h, up to 7d')
  .action((step: string, options: JsonOption & ChangeArguments) => runFlagsLadder(step, options))

program
  .command('top')
  .description('the keys that are read most, over all instances')
  .option('--seconds <number>', 'how long it listens', topDefaults.seconds)
  .option('--watch', 'goes on, and paints them anew each second')
  .option('--namespace <name>', 'whose: LOCKSTEP_NAMESPACE')
  .option('--json', 'one JSON document on stdout')
  .action(runTop)

const bloom = program.command('bloom').description('the Bloom filters of entities (docs/bloom.md)')

bloom
  .command('status')
  .description('what there is, how full it is, how far a build is')
  .argument('[entity]', 'only this one')
  .option('--namespace <name>', 'whose: LOCKSTEP_NAMESPACE')
  .option('--json', 'one JSON document on stdout')
  .action(runBloomStatus)

bloom
  .command('rebuild')
  .description('an instance that has the entity builds it anew; ends when that is ready')
  .argument('<entity>', 'as the cache names it')
  .option('--timeout <duration>', 'how long to wait until somebody builds', '10s')
  .option('--namespace <name>', 'whose: LOCKSTEP_NAMESPACE')
  .option('--json', 'one JSON document on stdout')
  .action(runBloomRebuild)

bloom
  .command('check')
  .description('what it says of an id, and what a read would do')
  .argument('<entity>', 'as the cache names it')
  .argument('<id>', 'as the entity has it as text')
  .option('--namespace <name>', 'whose: LOCKSTEP_NAMESPACE')
  .option('--json', 'one JSON document on stdout')
  .action(runBloomCheck)

const deadLetters = program
  .command('dead-letters')
  .description('events of others that could not be applied')

deadLetters
  .command('list')
  .description('all that are kept, with the reason')
  .option('--namespace <name>', 'whose: LOCKSTEP_NAMESPACE')
  .option('--json', 'one JSON document on stdout')
  .action(runDeadLettersList)

deadLetters
  .command('replay')
  .description('publish the originals again')
  .argument('[partition:offset...]', 'those that the list shows so')
  .option('--all', 'all that were not replayed yet')
  .option('--again', 'also those that were')
  .option('--namespace <name>', 'whose: LOCKSTEP_NAMESPACE')
  .option('--json', 'one JSON document on stdout')
  .action(runDeadLettersReplay)

async function runServe(options: ServeArguments & JsonOption): Promise<void> {
  const words = wordsOfServe()
  const run = async (): Promise<void> => {
    const config = readConfig()
    const parsed = parseServeOptions(options, config)
    await untilSignalled((signal) =>
      serve(parsed, config, signal, (serving) => {
        words.serving(serving)
        if (options.json) print(serving, '', options)
      }),
    )
  }
  await answering(options, run, words.failed)
}

async function runDemo(options: DemoArguments & JsonOption): Promise<void> {
  await answering(options, async () => {
    const parsed = parseDemoOptions(options)
    const screen = screenOn(options.json ? process.stderr : process.stdout)
    const outcome = await untilSignalled((signal) => demo(parsed, readConfig(), screen, signal))
    printDemo(outcome, options)
  })
}

function printDemo({ results, failure, examples }: DemoOutcome, { json }: JsonOption): void {
  process.stdout.write(json ? `${JSON.stringify(results, null, 2)}\n` : tableOf(results))
  for (const example of examples) complain(example)
  if (failure === undefined) return
  complain(failure)
  process.exitCode = failed
}

async function runBench(
  options: BenchArguments & JsonOption & { readonly check?: true },
): Promise<void> {
  await answering(options, async () => {
    const parsed = parseBenchOptions(options)
    const screen = screenOn(process.stderr)
    const results = await untilSignalled((signal) => bench(parsed, readConfig(), screen, signal))
    printBench(results, options)
    const missed = results.rows.filter(isFailure).map(({ name }) => name)
    if (!options.check || missed.length === 0) return
    complain(`not met: ${missed.join(', ')}`)
    process.exitCode = failed
  })
}

function printBench(results: BenchResults, { json }: JsonOption): void {
  process.stdout.write(json ? `${JSON.stringify(results, null, 2)}\n` : benchTableOf(results))
}

async function runMigrate(options: JsonOption): Promise<void> {
  await answering(options, async () => {
    const ran = await withPool(migrate)
    const text = ran.length === 0 ? 'up to date' : ran.map((name) => `ran ${name}`).join('\n')
    print({ ran }, `${text}\n`, options)
  })
}

async function runInstall(
  table: string,
  options: JsonOption & { readonly entity: string; readonly id: string },
): Promise<void> {
  await answering(options, async () => {
    const installed = await onSchema((pool) => installTriggers(pool, { ...options, table }))
    print(installed, installedText(installed), options)
  })
}

async function runList(
  table: string | undefined,
  options: JsonOption & { readonly check?: true },
): Promise<void> {
  await answering(options, async () => {
    const listed = await onSchema((pool) => listTriggers(pool, table))
    print({ triggers: listed }, listedText(listed), options)
    const incomplete = listed.filter(isIncomplete).map((one) => one.table)
    if (!options.check || incomplete.length === 0) return
    complain(`incomplete: ${incomplete.join(', ')}`)
    process.exitCode = failed
  })
}

async function runRemove(table: string, options: JsonOption): Promise<void> {
  await answering(options, async () => {
    const removed = await onSchema((pool) => removeTriggers(pool, table))
    print(removed, removedText(removed), options)
  })
}

// Whoever reads the output may stop early (`| head`).
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

try {
  process.exitCode = done
  await program.parseAsync()
} catch (error) {
  if (!(error instanceof CommanderError)) throw error
  process.exitCode = error.exitCode === 0 ? done : usedWrongly
}
