/** One of the processes that ask for the same cold id, forked by `stampede.ts`. */
import { setTimeout } from 'node:timers/promises'
import { lockstep } from '../lockstep.ts'
import { answerQuestions } from './children.ts'
import { type Answer, coldEntity, machineMs, newCounts, type Question } from './cold.ts'
import type { CityCache } from './places.ts'
import { timing } from './stage.ts'

let opened: CityCache | undefined
const counts = newCounts()

async function answer(question: Question, say: (word: 'loading') => void): Promise<Answer> {
  switch (question.kind) {
    case 'open': {
      const { place, patient } = question
      const { databaseUrl, redisUrl, namespace } = place
      const entities = { city: coldEntity(counts, () => say('loading')) }
      opened = await lockstep({
        namespace,
        postgres: databaseUrl,
        redis: redisUrl,
        entities,
        ...(patient && { timing }),
      })
      break
    }
    case 'get':
      return { ...counts, answeredAtMs: await getAll(opened as CityCache, question) }
    default:
      question satisfies never
  }
  return { ...counts, answeredAtMs: [] }
}

async function getAll(
  cache: CityCache,
  { id, gets, atMs }: Question & { readonly kind: 'get' },
): Promise<readonly number[]> {
  Object.assign(counts, newCounts())
  await setTimeout(Math.max(0, atMs - machineMs()))
  const get = async (): Promise<number> => {
    const city = await cache.city.get(id)
    if (city?.id !== id) throw new Error(`id ${id} was not found`)
    return machineMs()
  }
  return Promise.all(Array.from({ length: gets }, get))
}

answerQuestions(answer)
