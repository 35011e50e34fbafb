/** The Bloom filters of all entities that have one: their copies here, and who keeps them. */
import { FilterCopy, type OpenBits } from '../coordinator/filter-copy.ts'
import type { Clock } from '../model/clock.ts'
import type { AnyEntity } from '../model/entity.ts'
import type { IdScan, L2Filters } from '../model/filter-ports.ts'
import type { Logger } from '../model/log.ts'
import type { FilterNumbers } from '../telemetry/bloom-samples.ts'
import type { BloomNews } from '../telemetry/events.ts'
import { FilterKeeper } from './filter-keeper.ts'

export interface FilterPlaces {
  readonly l2: L2Filters
  readonly open: OpenBits
  readonly scanOf: (entity: AnyEntity) => IdScan
}

export interface FiltersOptions {
  readonly places: FilterPlaces
  readonly entities: readonly AnyEntity[]
  readonly clock: Clock
  readonly log: Logger
  readonly random: () => number
  readonly told: (news: BloomNews) => void
}

export class Filters {
  readonly copies: ReadonlyMap<string, FilterCopy>
  readonly #keepers: ReadonlyMap<string, FilterKeeper>

  constructor({ places, entities, ...shared }: FiltersOptions) {
    const { l2: filters, open, scanOf } = places
    const copies = new Map<string, FilterCopy>()
    const keepers = new Map<string, FilterKeeper>()
    for (const one of entities) {
      if (!one.bloom) continue
      const { name: entity } = one
      const { falsePositiveRate, capacity } = one.bloom
      const outdated = (): void => keepers.get(entity)?.poke()
      const copy = new FilterCopy({ entity, filters, open, clock: shared.clock, outdated })
      const size = { falsePositiveRate, capacity }
      const scan = scanOf(one)
      copies.set(entity, copy)
      keepers.set(entity, new FilterKeeper({ ...shared, ...size, entity, filters, copy, scan }))
    }
    this.copies = copies
    this.#keepers = keepers
  }

  start(): void {
    for (const keeper of this.#keepers.values()) keeper.start()
  }

  async close(): Promise<void> {
    await Promise.all([...this.#keepers.values()].map((keeper) => keeper.close()))
  }

  /** `undefined`: the entity has none. */
  numbersOf(entity: string): FilterNumbers | undefined {
    const keeper = this.#keepers.get(entity)
    if (!keeper) return undefined
    const { status, progress, outcomes } = keeper
    return { status, progress, outcomes, copied: this.copies.get(entity)?.generation }
  }
}
