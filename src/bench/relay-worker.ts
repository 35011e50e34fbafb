/** The process that relays, forked by `relay.ts`: what it relays comes from elsewhere. */
import { lockstep } from '../lockstep.ts'
import { answerQuestions } from './children.ts'
import { cityEntity, type Place } from './places.ts'
import { timing } from './stage.ts'

export type Question =
  | { readonly kind: 'open'; readonly place: Place; readonly to: 'l2' | 'log' }
  /** What it has taken since it was asked last. */
  | { readonly kind: 'taken' }

export interface Answer {
  readonly cpuMs: number
  readonly heapMb: number
  readonly rssMb: number
}

let used = process.cpuUsage()

async function answer(question: Question): Promise<Answer> {
  if (question.kind === 'open') {
    const { place, to } = question
    await lockstep({
      namespace: to === 'log' ? place.others.kafka : place.namespace,
      postgres: place.databaseUrl,
      redis: place.redisUrl,
      kafka: to === 'log' ? place.kafkaBrokers : undefined,
      entities: { city: cityEntity('city-200', 200) },
      timing,
    })
  }
  const { user, system } = process.cpuUsage(used)
  used = process.cpuUsage()
  const { heapUsed, rss } = process.memoryUsage()
  return { cpuMs: (user + system) / 1_000, heapMb: heapUsed / 2 ** 20, rssMb: rss / 2 ** 20 }
}

answerQuestions(answer)
