/** One of the processes that read a hot key, or hear of it: forked by `hot.ts`. */
import { setTimeout } from 'node:timers/promises'
import { assemble } from '../lockstep.ts'
import { answerQuestions } from './children.ts'
import { machineMs } from './cold.ts'
import { openLoop } from './open-loop.ts'
import { type CityCache, cityEntity, type Place } from './places.ts'
import { timing } from './stage.ts'

export type Question =
  | { readonly kind: 'open'; readonly place: Place }
  /** Reads the id so often, from `atMs` on. */
  | {
      readonly kind: 'read'
      readonly id: number
      readonly perSecond: number
      readonly atMs: number
      readonly forMs: number
    }

export interface Answer {
  /** Since when L1 has it; `undefined`: it hasn't. */
  readonly seenAtMs: number | undefined
  /** How often Redis was asked for it. */
  readonly lookups: number
}

/** So short that it would expire a few times while it is hot. */
const ttl = '2s'
const lookEveryMs = 1

let opened: CityCache | undefined
const lookups = new Map<string, number>()

async function answer(question: Question): Promise<Answer> {
  switch (question.kind) {
    case 'open':
      opened = await open(question.place)
      return { seenAtMs: undefined, lookups: 0 }
    case 'read':
      return read(opened as CityCache, question)
    default:
      return question satisfies never
  }
}

/** With the lookups of L2 counted by id, whoever asks: those that read and those that keep hot keys. */
function open({ databaseUrl, redisUrl, namespace }: Place): Promise<CityCache> {
  const entities = { city: cityEntity('hot', 200, { ttl }) }
  const options = { namespace, postgres: databaseUrl, redis: redisUrl, entities, timing }
  return assemble(options, (parts) => {
    const { l2 } = parts
    if (!l2) return parts
    const lookup = l2.lookup.bind(l2)
    l2.lookup = (entity, ids, ...rest) => {
      for (const id of ids) lookups.set(id, (lookups.get(id) ?? 0) + 1)
      return lookup(entity, ids, ...rest)
    }
    return parts
  })
}

async function read(
  cache: CityCache,
  { id, perSecond, atMs, forMs }: Question & { readonly kind: 'read' },
): Promise<Answer> {
  await setTimeout(Math.max(0, atMs - machineMs()))
  const before = lookups.get(String(id)) ?? 0
  const stop = new AbortController()
  let seenAtMs: number | undefined
  const looking = (async () => {
    while (!stop.signal.aborted && seenAtMs === undefined) {
      if (cache.city.peek(id) !== undefined) seenAtMs = machineMs()
      await setTimeout(lookEveryMs)
    }
  })()
  const { signal } = stop
  const reading = openLoop({ perSecond, forMs, signal }, () => cache.city.get(id).catch(() => {}))
  await Promise.all([reading, setTimeout(forMs)])
  stop.abort()
  await looking
  return { seenAtMs, lookups: (lookups.get(String(id)) ?? 0) - before }
}

answerQuestions(answer)
