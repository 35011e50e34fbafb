/** One of the processes that keep a filter, forked by `bloom-build.ts`: whoever gets the lease builds. */
import { lockstep } from '../lockstep.ts'
import type { BloomNews } from '../telemetry/events.ts'
import { answerQuestions } from './children.ts'
import { machineMs } from './cold.ts'
import { type IdCache, idEntity, idTable } from './ids.ts'
import type { Place } from './places.ts'
import { timing } from './stage.ts'

export type Question =
  | { readonly kind: 'open'; readonly place: Place; readonly capacity: number }
  /** How many of them are found. */
  | { readonly kind: 'get'; readonly ids: readonly number[] }

export interface Answer {
  readonly found: number
}

/** What became of the filter, and what the process has used by then. */
export interface Word {
  readonly state: BloomNews['state']
  readonly reason: BloomNews['reason']
  readonly atMs: number
  readonly cpuMs: number
}

let opened: IdCache | undefined

async function answer(question: Question, say: (word: Word) => void): Promise<Answer> {
  switch (question.kind) {
    case 'open':
      await open(question.place, question.capacity, say)
      return { found: 0 }
    case 'get':
      return { found: (await (opened as IdCache).id.getMany(question.ids)).size }
    default:
      return question satisfies never
  }
}

async function open(
  { databaseUrl, redisUrl, others }: Place,
  capacity: number,
  say: (word: Word) => void,
): Promise<void> {
  opened = await lockstep({
    namespace: others.bloom,
    postgres: databaseUrl,
    redis: redisUrl,
    entities: { id: idEntity({ bloom: { table: idTable, column: 'id', capacity } }) },
    timing,
  })
  // A build that began with the start may not be told of.
  opened.on('bloom', ({ state, reason }) => {
    const { user, system } = process.cpuUsage()
    say({ state, reason, atMs: machineMs(), cpuMs: (user + system) / 1_000 })
  })
}

answerQuestions(answer)
