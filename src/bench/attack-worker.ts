/** The process that is asked for ids that don't exist, forked by `attack.ts`. */
import { lockstep } from '../lockstep.ts'
import { answerQuestions } from './children.ts'
import { type Attack, attack, type Counts, filtered, guardedEntity } from './guarded.ts'
import type { CityCache, Place } from './places.ts'
import { timing } from './stage.ts'

export type Question =
  | { readonly kind: 'open'; readonly place: Place; readonly maxEntries: number }
  | { readonly kind: 'attack'; readonly forMs: number }

let opened: CityCache | undefined
const counts: Counts = { absent: 0 }
const { signal } = new AbortController()

async function answer(question: Question): Promise<Attack> {
  switch (question.kind) {
    case 'open': {
      const { databaseUrl, redisUrl, others } = question.place
      const cache = await lockstep({
        namespace: others.bloom,
        postgres: databaseUrl,
        redis: redisUrl,
        entities: { city: guardedEntity(question.maxEntries, counts) },
        timing,
      })
      await filtered(cache, (id) => cache.city.get(id), signal)
      opened = cache
      return { asked: 0, loaded: 0 }
    }
    case 'attack':
      return attack(opened as CityCache, question.forMs, signal, counts)
    default:
      return question satisfies never
  }
}

answerQuestions(answer)
