/** One of the processes that hear of writes, forked by `propagation.ts`. */

import { setTimeout } from 'node:timers/promises'
import { assemble } from '../lockstep.ts'
import { S3Fifo } from '../memory/policies/s3fifo.ts'
import { L1Region } from '../memory/region.ts'
import type { Region } from '../model/l1-port.ts'
import type { Parts } from '../running-cache.ts'
import { answerQuestions } from './children.ts'
import { machineMs } from './cold.ts'
import { cityCount } from './data.ts'
import { type CityCache, cityEntity, type Place } from './places.ts'
import { timing } from './stage.ts'

/**
 * How writes are heard of. `fast`: the fast plane over the outbox; `tail`: the outbox alone, and no
 * Redis; `kafka` and `cut`: Kafka and the outbox, each under a Redis whose fast plane is cut off.
 */
export type Way = 'fast' | 'tail' | 'kafka' | 'cut'

export type Question =
  | { readonly kind: 'open'; readonly place: Place; readonly way: Way }
  /** Into L1. */
  | { readonly kind: 'warm'; readonly ids: readonly number[] }
  | { readonly kind: 'dropped' }

export interface Answer {
  /** When values were dropped from L1, by the xid of the write. */
  readonly droppedAtMs: ReadonlyMap<number, number>
}

/** What a cache of that way is opened with, in each process. */
export function optionsOf(
  { databaseUrl, redisUrl, kafkaBrokers, namespace, others }: Place,
  way: Way,
) {
  const redis = way === 'tail' ? undefined : redisUrl
  switch (way) {
    case 'fast':
    case 'cut':
      return { namespace, postgres: databaseUrl, redis, timing }
    case 'tail':
      return { namespace: others.alone, postgres: databaseUrl, redis, timing }
    case 'kafka':
      return { namespace: others.kafka, postgres: databaseUrl, redis, kafka: kafkaBrokers, timing }
  }
}

const warmTries = 60
const warmPauseMs = 100
const droppedAtMs = new Map<number, number>()
let opened: CityCache | undefined

async function answer(question: Question): Promise<Answer> {
  switch (question.kind) {
    case 'open': {
      const { place, way } = question
      const entities = { city: cityEntity('city-200', 200) }
      opened = await assemble({ ...optionsOf(place, way), entities }, (parts) =>
        watched(parts, way),
      )
      break
    }
    case 'warm':
      await warm(opened as CityCache, question.ids)
      break
    case 'dropped':
      break
    default:
      question satisfies never
  }
  return { droppedAtMs }
}

function watched(parts: Parts, way: Way): Parts {
  const region: Region = new L1Region(
    { maxEntries: cityCount, maxBytes: 64 * 1024 * 1024 },
    new S3Fifo(cityCount),
  )
  const told = region.told.bind(region)
  region.told = (key, write) => {
    const wasThere = region.find(key) !== undefined
    told(key, write)
    if (wasThere && region.find(key) === undefined) droppedAtMs.set(write.xid, machineMs())
  }
  return {
    ...parts,
    regions: new Map([['city-200', region]]),
    fastPlane: way === 'fast' ? parts.fastPlane : undefined,
  }
}

async function warm(cache: CityCache, ids: readonly number[]): Promise<void> {
  for (let tries = 0; tries < warmTries; tries++) {
    await cache.city.getMany(ids)
    if (ids.every((id) => cache.city.peek(id) !== undefined)) return
    await setTimeout(warmPauseMs)
  }
  throw new Error('L1 could not be filled')
}

answerQuestions(answer)
