import type { Xid } from '../model/snapshot.ts'

interface Version {
  readonly xid: Xid
  readonly row: object | undefined
}

/** Rows as PostgreSQL keeps them: each with every version that a transaction has left. */
export class VersionedRows {
  readonly #versions = new Map<string, Version[]>()
  /** The rows that a transaction has written and not finished with. */
  readonly #written = new Map<Xid, Set<string>>()

  /** The last version that `isSeen`; `undefined` where there is none, or it was deleted. */
  find(entity: string, id: unknown, isSeen: (xid: Xid) => boolean): object | undefined {
    return this.#versions.get(keyOf(entity, id))?.findLast(({ xid }) => isSeen(xid))?.row
  }

  put(xid: Xid, entity: string, id: unknown, row: object | undefined): void {
    const key = keyOf(entity, id)
    const versions = this.#versions.get(key)
    if (versions) versions.push({ xid, row })
    else this.#versions.set(key, [{ xid, row }])
    const written = this.#written.get(xid)
    if (written) written.add(key)
    else this.#written.set(xid, new Set([key]))
  }

  /** Two transactions that wrote one row finish in the order in which they had its lock. */
  commit(xid: Xid): void {
    this.#finish(xid, (own, others) => [...others, ...own])
  }

  forget(xid: Xid): void {
    this.#finish(xid, (_own, others) => others)
  }

  /** As if these transactions had never been, though they have committed. */
  lose(xids: ReadonlySet<Xid>): void {
    for (const [key, versions] of this.#versions) {
      this.#versions.set(
        key,
        versions.filter(({ xid }) => !xids.has(xid)),
      )
    }
  }

  #finish(
    xid: Xid,
    left: (own: readonly Version[], others: readonly Version[]) => readonly Version[],
  ): void {
    for (const key of this.#written.get(xid) ?? []) {
      const versions = this.#versions.get(key) ?? []
      const own = versions.filter((version) => version.xid === xid)
      const others = versions.filter((version) => version.xid !== xid)
      this.#versions.set(key, [...left(own, others)])
    }
    this.#written.delete(xid)
  }
}

const keyOf = (entity: string, id: unknown): string => `${entity}:${String(id)}`
