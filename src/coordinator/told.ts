/** Acts on a write that this process hears of, from itself, the fast plane or the outbox. */

import type { LocalFilter } from '../model/filter-ports.ts'
import { keyOfText } from '../model/id.ts'
import type { Region } from '../model/l1-port.ts'
import type { WriteId } from '../model/snapshot.ts'

export class ToldRegions {
  readonly #regions: ReadonlyMap<string, Region>
  readonly #filters: ReadonlyMap<string, LocalFilter>

  constructor(
    regions: ReadonlyMap<string, Region>,
    filters: ReadonlyMap<string, LocalFilter> = new Map(),
  ) {
    this.#regions = regions
    this.#filters = filters
  }

  /** Entities that this process doesn't have are nothing to it. */
  tell(entity: string, ids: readonly string[], write: WriteId): void {
    const region = this.#regions.get(entity)
    if (!region) return
    const filter = this.#filters.get(entity)
    for (const id of ids) {
      region.told(keyOfText(id), write)
      filter?.add(id)
    }
  }
}
