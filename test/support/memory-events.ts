/** Foreign producers' side in memory: held to the real one by test/contract/foreign-events.test.ts. */
import type { EventSource, Invalidations, Recording } from '../../src/model/bus-ports.ts'
import type { DeadLetter } from '../../src/model/dead-letter.ts'
import type { Published } from '../../src/model/event.ts'
import type { EntityIds } from '../../src/model/source-port.ts'

type Apply = Parameters<EventSource['listen']>[0]

/** A topic of one partition, and who has committed how much of it. */
export class MemoryEvents {
  readonly #records: (Buffer | null)[] = []
  readonly graves: DeadLetter[] = []
  #committed = 0
  #wake = (): void => {}
  /** One member reads at a time. */
  #turn: Promise<void> = Promise.resolve()

  get committed(): number {
    return this.#committed
  }

  publish(...values: (Buffer | string | null)[]): void {
    this.#records.push(
      ...values.map((value) => (typeof value === 'string' ? Buffer.from(value) : value)),
    )
    this.#wake()
  }

  open(): EventSource {
    const closing = new AbortController()
    let ended: Promise<void> | undefined
    return {
      listen: (apply) => {
        const before = this.#turn
        ended = before.then(() => this.#read(apply, closing.signal))
        this.#turn = ended
      },
      bury: async (letters, signal) => {
        signal.throwIfAborted()
        this.graves.push(...letters)
      },
      close: async () => {
        closing.abort(new Error('closed'))
        this.#wake()
        await ended
      },
    }
  }

  async #read(apply: Apply, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const first = this.#committed
      const events = this.#records.slice(first).map(
        (value, index): Published => ({
          partition: 0,
          offset: String(first + index),
          key: null,
          value,
        }),
      )
      if (events.length === 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
        continue
      }
      try {
        await apply(events, signal)
        this.#committed = first + events.length
      } catch {
        // Handed on again.
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
  }
}

export class MemoryInvalidations implements Invalidations {
  readonly recorded: EntityIds[] = []
  readonly #entities: ReadonlySet<string>

  constructor(entities: readonly string[]) {
    this.#entities = new Set(entities)
  }

  async record(keys: readonly EntityIds[], signal: AbortSignal): Promise<Recording> {
    signal.throwIfAborted()
    const known = keys.filter(({ entity }) => this.#entities.has(entity))
    const entities = keys.map(({ entity }) => entity)
    // As PostgreSQL, where a text can't be had in the encoding of the database.
    if (known.some(({ ids }) => ids.some((id) => id.includes('\u0000')))) {
      return { kind: 'refused', why: 'PostgreSQL: SQLSTATE 22021' }
    }
    this.recorded.push(...known)
    return {
      kind: 'recorded',
      unknown: new Set(entities.filter((entity) => !this.#entities.has(entity))),
    }
  }
}
