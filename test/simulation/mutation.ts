/** What a mutant puts in the place of a rule: a port's, a script's, or a pure function's. */
import type { Clock } from '../../src/model/clock.ts'
import type { AnyEntity } from '../../src/model/entity.ts'
import type { Parts } from '../../src/running-cache.ts'
import type { MemoryDatabase } from '../../src/testing/memory-database.ts'
import type { MemoryRedis } from '../../src/testing/memory-redis.ts'
import type { Line } from './line.ts'
import type { SimulatedWorld } from './world.ts'

/** Whose ports they are. */
export interface Place {
  readonly world: SimulatedWorld
  readonly line: Line
  readonly entity: AnyEntity
}

export interface Mutation {
  /** The rules of the scripts. */
  readonly redis?: (redis: MemoryRedis) => void
  readonly database?: (database: MemoryDatabase) => void
  readonly clock?: (clock: Clock, world: SimulatedWorld, line: Line) => Clock
  /** The ports, before anything travels. */
  readonly parts?: (parts: Parts, place: Place) => Parts
  /** The ports, as the process has them. */
  readonly arrived?: (parts: Parts, place: Place) => Parts
  readonly mergeTickets?: (...tickets: readonly string[]) => string
}

/** Nothing is replaced. */
export const original: Mutation = {}
