/** Values that are too big to be cached: each load of one is counted, and a key is told of once in its ttl. */
import type { L1Key } from '../model/id.ts'
import type { LoadedValue } from './values.ts'
import type { ReadContext, WantedGroup } from './wanted.ts'

/** With more keys than these the first is forgotten, and told of once more. */
const mostKeys = 1_000

export class TooBig {
  readonly #context: Pick<ReadContext, 'entity' | 'counters' | 'clock' | 'log'>
  /** When each was told of last. */
  readonly #toldAtMs = new Map<L1Key, number>()

  constructor(context: Pick<ReadContext, 'entity' | 'counters' | 'clock' | 'log'>) {
    this.#context = context
  }

  loaded({ key, text }: Pick<WantedGroup, 'key' | 'text'>, { payload }: LoadedValue): void {
    const { entity, counters, clock, log } = this.#context
    counters.tooBigValues++
    const nowMs = clock.monotonicMs()
    const toldAtMs = this.#toldAtMs.get(key)
    if (toldAtMs !== undefined && nowMs - toldAtMs < entity.ttlMs) return
    this.#toldAtMs.delete(key)
    this.#toldAtMs.set(key, nowMs)
    if (this.#toldAtMs.size > mostKeys) this.#forgetFirst()
    log.warn(
      { entity: entity.name, id: text, bytes: payload?.length },
      'a value is too big to be cached',
    )
  }

  #forgetFirst(): void {
    for (const first of this.#toldAtMs.keys()) {
      this.#toldAtMs.delete(first)
      return
    }
  }
}
