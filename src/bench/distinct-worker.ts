/** One of the processes that ask for many cold ids at once, forked by `distinct.ts`. */
import { setTimeout } from 'node:timers/promises'
import { lockstep } from '../lockstep.ts'
import { LockstepError } from '../model/errors.ts'
import { answerQuestions } from './children.ts'
import { machineMs } from './cold.ts'
import { inLanes } from './contest.ts'
import { chunksOf } from './data.ts'
import { type IdCache, idEntity } from './ids.ts'
import type { Place } from './places.ts'
import { timing } from './stage.ts'

export type Question =
  | { readonly kind: 'open'; readonly place: Place }
  /** Each of the ids 1 to `count` once. */
  | { readonly kind: 'get'; readonly count: number; readonly atMs: number }

export interface Answer {
  readonly loadedIds: number
}

const idsACall = 500
const lanes = 4
const mostTries = 20

/** Loads that wait for their turn on a busy machine are no failure here either. */
const patience = { ...timing, loadQueueDeadline: '3s' } as const

let opened: IdCache | undefined

async function answer(question: Question): Promise<Answer> {
  switch (question.kind) {
    case 'open': {
      const { databaseUrl, redisUrl, others } = question.place
      opened = await lockstep({
        namespace: others.many,
        postgres: databaseUrl,
        redis: redisUrl,
        entities: { id: idEntity() },
        timing: patience,
      })
      return { loadedIds: 0 }
    }
    case 'get':
      return getAll(opened as IdCache, question)
    default:
      return question satisfies never
  }
}

async function getAll(
  cache: IdCache,
  { count, atMs }: Question & { readonly kind: 'get' },
): Promise<Answer> {
  const calls = chunksOf(
    Array.from({ length: count }, (_, index) => index + 1),
    idsACall,
  )
  await setTimeout(Math.max(0, atMs - machineMs()))
  await inLanes(lanes, calls.length, async (index) => {
    const ids = calls[index] as readonly number[]
    const { size } = await insistently(() => cache.id.getMany(ids))
    if (size < ids.length) throw new Error(`${ids.length - size} ids were not found`)
  })
  return { loadedIds: cache.stats().id.loadedIds }
}

/** Loads that are shed are asked for again, as whoever needs them does. */
async function insistently<T>(read: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await read()
    } catch (error) {
      if (tries === mostTries || !(error instanceof LockstepError)) throw error
    }
  }
}

answerQuestions(answer)
