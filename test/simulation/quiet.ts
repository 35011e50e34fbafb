/** When nothing goes wrong any more: everybody has what PostgreSQL has, and nothing is left (I1, I2, I5, I8). */
import type { AnyEntity } from '../../src/model/entity.ts'
import type { Item, SimulatedProcess } from './process.ts'
import type { Stage } from './stage.ts'

/** How long all may take that is under way, and the relay. */
const quietMs = 30_000
/** What was given up is done by then. */
const lateMs = 500
const readMs = 1_000
const settledMs = 500
const closeMs = 8_000
const stepMs = 20

export async function judgeQuiet(
  stage: Stage & { readonly underWay: ReadonlyMap<Promise<void>, string> },
): Promise<void> {
  const { world, processes, underWay } = stage
  const { clock, database, ids, oracle } = world
  world.calm()
  for (const { line } of processes) line.mend()
  const isStopped = (): boolean => processes.some(({ line }) => line.isStopped)
  await until(stage, quietMs, () => underWay.size === 0 && !isStopped())
  if (underWay.size > 0) oracle.violate('I8', `never ended: ${[...underWay.values()].join('; ')}`)
  const owed = async (): Promise<number> => {
    const progress = await database.progress({}, new AbortController().signal)
    return progress.owed.l2.rows + progress.owed.log.rows
  }
  await until(stage, quietMs, async () => (await owed()) === 0)
  if ((await owed()) > 0) oracle.violate('I2', `${await owed()} rows were never told of`)
  await clock.advance(lateMs)
  for (const process of processes) for (const id of ids) await judgeReads(stage, process, id)
  await judgeClose(stage)
  if (database.openTransactions > 0) oracle.violate('I8', 'a transaction is left open')
}

/** Bounded, strong, and bounded again, which is cached by then. */
async function judgeReads(stage: Stage, process: SimulatedProcess, id: number): Promise<void> {
  let tier: string | undefined
  for (const request of [{}, { consistency: 'strong' as const }, {}]) {
    tier = await judgeRead(stage, process, id, request)
  }
  if (tier !== 'source') return
  // It may have gone on a moment ago; what it has heard since is proven by then.
  await stage.world.clock.advance(settledMs)
  await judgeRead(stage, process, id, {})
  if ((await judgeRead(stage, process, id, {})) !== 'source') return
  stage.world.oracle.violate('I5', `when all is quiet ${process.name} loads ${id} again and again`)
}

/** Where it was found; what is too big to be cached is found nowhere else than in the source. */
async function judgeRead(
  stage: Stage,
  { item, name }: SimulatedProcess,
  id: number,
  request: { readonly consistency?: 'strong' },
): Promise<string | undefined> {
  const { oracle } = stage.world
  const due = oracle.due(id)
  let isAnswered = false
  let from: string | undefined
  const when = 'when all is quiet'
  const read = async (): Promise<void> => {
    try {
      const { value, tier } = await item.reader.getEntry(id, request)
      from = isTooBig(item.entity, value) ? 'source, too big' : tier
      const number = (value as Item | undefined)?.number ?? -1
      stage.note(`${name} has ${number} of ${id} in ${tier} ${when}`)
      if (number >= due) return
      oracle.violate('I1', `${when} ${name} has ${number} of ${id} from ${tier}, ${due} is there`)
    } catch (error) {
      oracle.violate('I8', `${when} a read of ${id} in ${name} fails: ${String(error)}`)
    }
  }
  void read().finally(() => {
    isAnswered = true
  })
  await until(stage, readMs, () => isAnswered)
  return from
}

function isTooBig({ codec, maxValueBytes }: AnyEntity, value: unknown): boolean {
  return value !== undefined && codec.encode(value).length > maxValueBytes
}

async function judgeClose({ processes, world }: Stage): Promise<void> {
  const { clock, oracle } = world
  const living = processes.filter(({ line }) => !line.isDead)
  let open = living.length
  for (const { running } of living) void running.close(100).then(() => open--)
  await until({ world }, closeMs, () => open === 0 && clock.timers === 0)
  if (open > 0) oracle.violate('I8', `${open} processes do not close`)
  if (clock.timers > 0) oracle.violate('I8', `${clock.timers} timers are left`)
}

/** Lets time pass until it holds, or for so long. */
async function until(
  { world: { clock } }: Pick<Stage, 'world'>,
  withinMs: number,
  holds: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadlineMs = clock.monotonicMs() + withinMs
  await clock.settle()
  while (!(await holds()) && clock.monotonicMs() < deadlineMs) await clock.advance(stepMs)
}
