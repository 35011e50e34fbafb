/** The two deletes around a write's COMMIT, and the new value in the call of the second (DESIGN §5.2, §5.4). */
import type { Clock } from '../model/clock.ts'
import { retries } from '../model/defaults.ts'
import type { AnyEntity } from '../model/entity.ts'
import type { Switches } from '../model/flags.ts'
import type { Drop, Dropped, L2, Nonce } from '../model/l2-port.ts'
import type { Snapshot } from '../model/snapshot.ts'
import type { EntityIds, LiveVersions, Recorded } from '../model/source-port.ts'
import { type RetryPlan, retry } from '../resilience/retry.ts'
import type { WriteCounters } from '../telemetry/counters.ts'
import type { Finisher } from './finisher.ts'
import type { ToldRegions } from './told.ts'
import { forL2, keyOfRow, type LoadedValue, loadedValue } from './values.ts'

/** One key of a write. */
export interface WriteKey {
  readonly entity: AnyEntity
  readonly id: string
}

export interface DeleteContext {
  readonly l2: L2 | undefined
  readonly told: ToldRegions
  readonly finisher: Finisher
  readonly counters: WriteCounters
  /** Flags that are set for an entity, at any moment. */
  readonly switchesOf: (entity: string) => Switches
  readonly clock: Clock
  readonly random: () => number
  readonly closing: AbortSignal
  /** Of the second delete; without it the default. */
  readonly l2Retries?: RetryPlan
}

/** A transaction that has left its outbox rows and been through the first delete. */
export interface Fenced<R> {
  readonly value: R
  readonly keys: readonly WriteKey[]
  readonly recorded: Recorded
  readonly first: Dropped | undefined
  /** Older than the transaction's first statement: what the written rows are labelled with. */
  readonly snapshot: Snapshot | undefined
}

const standardRetries: RetryPlan = { retries: retries.secondDelete, isRetryable: () => true }

export class Deletes {
  readonly #context: DeleteContext

  constructor(context: DeleteContext) {
    this.#context = context
  }

  async first(keys: readonly WriteKey[], recorded: Recorded): Promise<Dropped | undefined> {
    this.#tell(keys, recorded)
    const { l2, counters } = this.#context
    const drops = keys.map((key) => dropOf(key, recorded.versions))
    const first = await l2?.invalidate(recorded.write, drops)
    if (first) counters.firstDelete[first.kind]++
    return first
  }

  /** L1 of this process, at once: its own fast-plane message comes later. */
  #tell(keys: readonly WriteKey[], recorded: Recorded): void {
    for (const { entity, ids } of byEntity(keys)) {
      this.#context.told.tell(entity, ids, recorded.write)
    }
  }

  /** Resolves with whether Redis was told both times. */
  async second<R>(ended: Fenced<R>, versions: LiveVersions): Promise<boolean> {
    const { keys, recorded, first } = ended
    this.#tell(keys, recorded)
    const isApplied = await this.#applied(ended, versions)
    const { rowIds, write } = recorded
    const writes = byEntity(keys).map(({ entity, ids }) => ({ write, entity, ids }))
    this.#context.finisher.add({ rowIds, writes, isApplied })
    return isApplied && (!this.#context.l2 || first?.kind === 'dropped')
  }

  /** Where it can't be told the row stays unapplied, and whoever relays tells Redis as soon as it can be told. */
  async #applied<R>(ended: Fenced<R>, versions: LiveVersions): Promise<boolean> {
    const { l2, clock, closing, counters, l2Retries = standardRetries, random } = this.#context
    const { keys, recorded } = ended
    if (!l2) return true
    const drops = keys.map((key, index) => {
      const drop = dropOf(key, versions)
      const through = this.#through(ended, key, index)
      return through ? { ...drop, through } : drop
    })
    try {
      await retry({ ...l2Retries, signal: closing, clock, random }, async () => {
        const second = await l2.invalidate(recorded.write, drops)
        counters.secondDelete[second.kind]++
        if (second.kind === 'unavailable') throw second.cause
      })
      return true
    } catch {
      return false
    }
  }

  /** The new value of one key, to be filled in the call of the second delete. */
  #through<R>(ended: Fenced<R>, key: WriteKey, index: number): Drop['through'] {
    const { entity } = key
    const { first, recorded, snapshot, value } = ended
    if (!entity.writeThrough || first?.kind !== 'dropped') return undefined
    if (!snapshot || snapshot.incarnation !== recorded.write.incarnation) return undefined
    const { clock, random, switchesOf } = this.#context
    const switches = switchesOf(entity.name)
    // The drop goes to Redis all the same.
    if (switches['fill.off'] || switches['l2.bypass']) return undefined
    let written: LoadedValue
    try {
      const row = rowsOf(value).find((one) => String(keyOfRow(entity, one)) === key.id)
      if (row === undefined) return undefined
      written = loadedValue(entity, row, snapshot, clock.monotonicMs(), random)
    } catch {
      // The write has committed; a value that can't be cached is loaded by the next reader.
      return undefined
    }
    return {
      version: entity.version,
      lease: { id: key.id, nonce: first.nonces[index] as Nonce, tombstones: [] },
      snapshot: { ...snapshot, own: recorded.write.xid },
      ...forL2(entity, written, switches),
      ageMs: 0,
      over: [],
    }
  }
}

/** The rows that a callback returned: one, several, or none. */
export function rowsOf(value: unknown): readonly object[] {
  const rows = Array.isArray(value) ? value : [value]
  return rows.filter((row): row is object => typeof row === 'object' && row !== null)
}

function dropOf({ entity, id }: WriteKey, live: LiveVersions): Drop {
  const known = live.get(entity.name) ?? []
  const versions = known.includes(entity.version) ? known : [...known, entity.version]
  return { entity: entity.name, id, versions }
}

export function byEntity(keys: readonly WriteKey[]): readonly EntityIds[] {
  const ids = new Map<string, Set<string>>()
  for (const { entity, id } of keys) {
    const known = ids.get(entity.name)
    if (known) known.add(id)
    else ids.set(entity.name, new Set([id]))
  }
  return [...ids].map(([entity, some]) => ({ entity, ids: [...some] }))
}
