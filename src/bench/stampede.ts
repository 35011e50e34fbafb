/** 1,000 gets of an id that nobody has: in one process, over several, and with the one that loads killed. */
import { lockstep } from '../lockstep.ts'
import { messageOf } from '../model/errors.ts'
import { Child } from './children.ts'
import { type Answer, coldEntity, machineMs, newCounts, type Question } from './cold.ts'
import { type Effort, NotMeasured } from './contest.ts'
import { type Row, valueRow } from './row.ts'
import { type Stage, timing } from './stage.ts'

const gets = 1_000
const processes = 4
/** Between the word to go and the beginning. */
const headStartMs = 50
/** Each of these takes new processes. */
const mostKills = 5
/** The ids of each row are its own: they are cold once. */
const firstIds = { process: 1, processes: 3_001, killed: 6_001 } as const

export async function measureInProcess(stage: Stage, effort: Effort): Promise<readonly Row[]> {
  const { pool, redis, place, log } = stage
  await stage.withTable(200)
  const counts = newCounts()
  const cache = await lockstep({
    namespace: place.namespace,
    postgres: pool.knex,
    redis,
    entities: { city: coldEntity(counts) },
    timing,
    logger: log,
  })
  const loads: number[] = []
  const ids: number[] = []
  try {
    for (let round = 0; round < effort.rounds; round++) {
      effort.signal.throwIfAborted()
      Object.assign(counts, newCounts())
      const id = firstIds.process + round
      await Promise.all(Array.from({ length: gets }, () => cache.city.get(id)))
      loads.push(counts.loads)
      ids.push(counts.ids)
    }
  } finally {
    await cache.close()
  }
  return [
    valueRow('stampede.process.loads', loads, 'largest'),
    valueRow('stampede.process.ids', ids, 'largest'),
  ]
}

export async function measureOverProcesses(stage: Stage, effort: Effort): Promise<readonly Row[]> {
  const loads: number[] = []
  const waits: number[] = []
  await withCrew(stage, effort, 'patient', async (crew) => {
    for (let round = 0; round < effort.rounds; round++) {
      const { answers, atMs } = await crew.get(firstIds.processes + round)
      loads.push(answers.reduce((sum, one) => sum + one.loads, 0))
      waits.push(beyondLoad(answers, atMs))
    }
  })
  return [
    valueRow('stampede.processes.loads', loads, 'largest'),
    valueRow('stampede.processes.wait', waits, 'median'),
  ]
}

export async function measureOwnerKilled(stage: Stage, effort: Effort): Promise<readonly Row[]> {
  const loads: number[] = []
  const waits: number[] = []
  for (let round = 0; round < Math.min(effort.rounds, mostKills); round++) {
    // As a user would see it: with the default deadlines.
    await withCrew(stage, effort, 'default', async (crew) => {
      const { answers, killedAtMs } = await crew.get(firstIds.killed + round, 'kill')
      if (killedAtMs === undefined) throw new NotMeasured('no process loaded')
      // The one that was killed had begun one.
      loads.push(1 + answers.reduce((sum, one) => sum + one.loads, 0))
      waits.push(beyondLoad(answers, killedAtMs))
    })
  }
  return [
    valueRow('stampede.owner-killed.loads', loads, 'largest'),
    valueRow('stampede.owner-killed.wait', waits, 'median'),
  ]
}

function beyondLoad(answers: readonly Answer[], sinceMs: number): number {
  const lastMs = Math.max(...answers.map(({ answeredAtMs }) => answeredAtMs))
  return lastMs - sinceMs - Math.max(...answers.map(({ loadMs }) => loadMs))
}

interface Crew {
  /** All of them ask for the id; `kill`: the first that loads it is killed, and doesn't answer. */
  get(
    id: number,
    kill?: 'kill',
  ): Promise<{ answers: readonly Answer[]; atMs: number; killedAtMs: number | undefined }>
}

async function withCrew(
  { place, withTable }: Stage,
  { signal }: Effort,
  deadlines: 'patient' | 'default',
  run: (crew: Crew) => Promise<void>,
): Promise<void> {
  await withTable(200)
  const file = new URL('./stampede-worker.js', import.meta.url)
  let onLoading = (_child: number): void => {}
  const crew = Array.from(
    { length: processes },
    (_, index) =>
      new Child<Question, Answer, 'loading'>(file, signal, { hear: () => onLoading(index) }),
  )
  try {
    await Promise.all(
      crew.map((child) => child.ask({ kind: 'open', place, patient: deadlines === 'patient' })),
    )
    await run({
      get: async (id, kill) => {
        let victim: number | undefined
        let killedAtMs: number | undefined
        onLoading = (index) => {
          if (kill === undefined || victim !== undefined) return
          victim = index
          killedAtMs = machineMs()
          void crew[index]?.kill()
        }
        const atMs = machineMs() + headStartMs
        const question = { kind: 'get', id, gets: gets / processes, atMs } as const
        const asked = await Promise.allSettled(crew.map((child) => child.ask(question)))
        signal.throwIfAborted()
        const answers = asked.flatMap((one, index) => {
          if (one.status === 'fulfilled') return one.value
          if (index === victim) return []
          throw new NotMeasured(messageOf(one.reason))
        })
        return { answers, atMs, killedAtMs }
      },
    })
  } finally {
    await Promise.all(crew.map((child) => child.kill()))
  }
}
