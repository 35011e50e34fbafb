/** Row locks: whoever writes a row holds it until its transaction ends, in the order in which they came. */
import { deferred } from '../../src/resilience/deadline.ts'

export interface LockHolder {
  isEnded: boolean
  readonly locked: Set<number>
}

export class RowLocks {
  readonly #rows = new Map<number, { holder: LockHolder; readonly queue: (() => boolean)[] }>()

  /** Rejects when the holder has ended; one that ends while it waits waits for ever. */
  async take(id: number, holder: LockHolder): Promise<void> {
    if (holder.isEnded) throw new Error('Connection terminated unexpectedly')
    if (holder.locked.has(id)) return
    const row = this.#rows.get(id)
    if (!row) {
      this.#rows.set(id, { holder, queue: [] })
      holder.locked.add(id)
      return
    }
    const granted = deferred<void>()
    row.queue.push(() => {
      if (holder.isEnded) return false
      row.holder = holder
      holder.locked.add(id)
      granted.resolve()
      return true
    })
    await granted.promise
  }

  /** Once, when its transaction ends. */
  release(holder: LockHolder): void {
    for (const id of holder.locked) {
      const row = this.#rows.get(id)
      let next = row?.queue.shift()
      while (next && !next()) next = row?.queue.shift()
      if (!next) this.#rows.delete(id)
    }
    holder.locked.clear()
  }
}
