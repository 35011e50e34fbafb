/** The hops of the real places: what each counts as an answer, and when its breaker opens. */
import { isKafkaAnswer, isRetryableKafka } from './kafka/retryable.ts'
import { LockstepError } from './model/errors.ts'
import type { Settings } from './options.ts'
import { isRetryableFailure, isSourceAnswer } from './postgres/retryable.ts'
import { isRedisAnswer, isRetryableRedis } from './redis/retryable.ts'
import { Breakers } from './resilience/breakers.ts'
import { Hop, type HopParts } from './resilience/hop.ts'
import type { HopPart } from './running-hops.ts'

/** One for each node; who opens a hop closes it. */
export function redisHops({ clock, hops, random, timing }: Settings): {
  readonly part: HopPart
  readonly openHop: (node: string | undefined, probe: HopParts['probe']) => Hop
} {
  const breakers = new Breakers()
  const openHop = (node: string | undefined, probe: HopParts['probe']): Hop => {
    const hop = new Hop({
      name: 'l2',
      deadlineMs: timing.redisDeadlineMs,
      isAnswer: isRedisAnswer,
      settings: hops.l2,
      silenceMs: 200,
      probe,
      refusal: () => new Error('Redis is not asked: its breaker lets no call through'),
      clock,
      random,
    })
    breakers.add(hop, node)
    return hop
  }
  return { part: { breakers, isRetryable: isRetryableRedis }, openHop }
}

/** One hop to a service of one place; who opens it closes it. */
interface OpenHop {
  readonly hop: Hop
  readonly part: HopPart
  readonly close: () => void
}

export function sourceHop({ clock, hops, random, timing }: Settings): OpenHop {
  const hop = new Hop({
    name: 'source',
    // Of loads and of writes; each keeps its own.
    deadlineMs: Math.min(timing.loadDeadlineMs, timing.writeDeadlineMs),
    isAnswer: isSourceAnswer,
    settings: hops.source,
    refusal: () =>
      new LockstepError(
        'SOURCE_UNAVAILABLE',
        'PostgreSQL is not asked: its breaker lets no call through',
      ),
    clock,
    random,
  })
  return openHopOf(hop, isRetryableFailure)
}

export function busHop({ clock, hops, random, timing }: Settings): OpenHop {
  const hop = new Hop({
    name: 'bus',
    deadlineMs: timing.kafkaDeadlineMs,
    isAnswer: isKafkaAnswer,
    settings: hops.bus,
    clock,
    random,
  })
  return openHopOf(hop, isRetryableKafka)
}

function openHopOf(hop: Hop, isRetryable: (error: unknown) => boolean): OpenHop {
  const breakers = new Breakers()
  breakers.add(hop)
  return { hop, part: { breakers, isRetryable, hop }, close: () => hop.close() }
}
