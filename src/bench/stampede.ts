/** Gets of an id that nobody has: in one process, over several, and with the one that loads killed. */
import { lockstep } from '../lockstep.ts'
import { messageOf } from '../model/errors.ts'
import { Child } from './children.ts'
import { type Answer, coldEntity, machineMs, newCounts, type Question } from './cold.ts'
import { type Effort, NotMeasured } from './contest.ts'
import { type Row, valueRow } from './row.ts'
import { type Stage, timing } from './stage.ts'
import { quantile } from './statistics.ts'

const gets = 1_000
/** Over four processes the gets are divided, over eight each makes all of them. */
const crews = {
  processes: { size: 4, getsEach: gets / 4 },
  eight: { size: 8, getsEach: gets },
} as const
type CrewName = keyof typeof crews

/** Between the word to go and the beginning. */
const headStartMs = 50
/** Each of these takes new processes; with eight of them a small scale makes it one. */
const mostKills = { processes: 5, eight: 3 } as const
const mostRounds = { processes: 1_000, eight: 10 } as const
/** The ids of each row are its own: they are cold once. */
const firstIds = {
  process: 1,
  loaded: { processes: 3_001, eight: 5_001 },
  killed: { processes: 6_001, eight: 7_001 },
} as const
/** Of the waits: all of those that a thousand gets have, and most of those of eight thousand. */
const shares = { processes: 1, eight: 0.99 } as const

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

export async function measureOverProcesses(
  name: CrewName,
  stage: Stage,
  effort: Effort,
): Promise<readonly Row[]> {
  const loads: number[] = []
  const waits: number[] = []
  await withCrew(name, stage, effort, 'patient', async (crew) => {
    for (let round = 0; round < Math.min(effort.rounds, mostRounds[name]); round++) {
      const { answers, atMs } = await crew.get(firstIds.loaded[name] + round)
      loads.push(answers.reduce((sum, one) => sum + one.loads, 0))
      waits.push(beyondLoad(answers, atMs, shares[name]))
    }
  })
  return [
    valueRow(`stampede.${name}.loads`, loads, 'largest'),
    valueRow(`stampede.${name}.wait`, waits, 'median'),
  ]
}

export async function measureOwnerKilled(
  name: CrewName,
  stage: Stage,
  effort: Effort & { readonly scale: number },
): Promise<readonly Row[]> {
  const loads: number[] = []
  const waits: number[] = []
  const scale = name === 'eight' ? Math.min(1, effort.scale) : 1
  const kills = Math.max(1, Math.round(mostKills[name] * scale))
  for (let round = 0; round < Math.min(effort.rounds, kills); round++) {
    // As a user would see it: with the default deadlines.
    await withCrew(name, stage, effort, 'default', async (crew) => {
      const { answers, killedAtMs } = await crew.get(firstIds.killed[name] + round, 'kill')
      if (killedAtMs === undefined) throw new NotMeasured('no process loaded')
      // The one that was killed had begun one.
      loads.push(1 + answers.reduce((sum, one) => sum + one.loads, 0))
      waits.push(beyondLoad(answers, killedAtMs, shares[name]))
    })
  }
  const row = name === 'eight' ? 'stampede.eight-killed' : 'stampede.owner-killed'
  return [valueRow(`${row}.loads`, loads, 'largest'), valueRow(`${row}.wait`, waits, 'median')]
}

/** Until that share of the gets is answered. */
function beyondLoad(answers: readonly Answer[], sinceMs: number, share: number): number {
  const answeredAtMs = answers.flatMap((one) => one.answeredAtMs)
  const loadMs = Math.max(...answers.map((one) => one.loadMs))
  return quantile(answeredAtMs, share) - sinceMs - loadMs
}

interface Crew {
  /** All of them ask for the id; `kill`: the first that loads it is killed, and doesn't answer. */
  get(
    id: number,
    kill?: 'kill',
  ): Promise<{ answers: readonly Answer[]; atMs: number; killedAtMs: number | undefined }>
}

async function withCrew(
  name: CrewName,
  { place, withTable }: Stage,
  { signal }: Effort,
  deadlines: 'patient' | 'default',
  run: (crew: Crew) => Promise<void>,
): Promise<void> {
  const { size, getsEach } = crews[name]
  await withTable(200)
  const file = new URL('./stampede-worker.js', import.meta.url)
  let onLoading = (_child: number): void => {}
  const crew = Array.from(
    { length: size },
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
        const question = { kind: 'get', id, gets: getsEach, atMs } as const
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
