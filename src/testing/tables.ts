import { type AnyEntity, type Entity, wrong } from '../model/entity.ts'
import { deepCopy } from '../model/freeze.ts'
import type { Db } from '../postgres/pool.ts'
import type { MemoryDatabase } from './memory-database.ts'
import type { MemoryTx } from './memory-source.ts'

/** The rows of one entity, in memory. What goes in and comes out are copies. */
export interface Table<Id, Value> {
  get(id: Id): Value | undefined
  /** In the order in which their ids first came. */
  all(): Value[]
  /** Inserts the row, or replaces the one with its id; returns it, as `returning('*')` does. */
  put(row: Value): Value
  delete(id: Id): void
}

export type Tables<Entities extends Record<string, AnyEntity>> = {
  readonly [K in keyof Entities]: Entities[K] extends Entity<string, infer Id, infer Value, Db>
    ? Table<Id, Value>
    : never
}

/** Where rows are read and written: a transaction's, or everybody's. */
type Place = Pick<MemoryTx, 'rows' | 'put'>

/** The tables of the entities that have one, over a database in memory. */
export class MemoryTables<Entities extends Record<string, AnyEntity>> {
  readonly #entities: Entities
  readonly #isKept: (key: string) => boolean
  /** The ids that a row was ever put for, by entity. */
  readonly #ids = new Map<string, Set<string>>()
  readonly #transactions = new WeakMap<object, Tables<Entities>>()
  /** As somebody writes them who doesn't know the cache. */
  readonly unnoticed: Tables<Entities>

  constructor(database: MemoryDatabase, entities: Entities, kept: Record<string, unknown>) {
    this.#entities = entities
    this.#isKept = (key) => Object.hasOwn(kept, key)
    this.unnoticed = this.in({
      rows: (entity, ids) => database.rows(entity, ids),
      put: (entity, id, row) => {
        database.putUnnoticed(entity, id, row)
        return row
      },
    })
  }

  in(place: Place): Tables<Entities> {
    const tables = Object.entries(this.#entities).map(([key, entity]) => [
      key,
      this.#isKept(key) ? this.#table(entity, place) : missing(key),
    ])
    return Object.freeze(Object.fromEntries(tables))
  }

  /** The tables as the transaction sees them whose callback got `handle`. */
  bind(handle: object, tables: Tables<Entities>): void {
    this.#transactions.set(handle, tables)
  }

  of(handle: unknown): Tables<Entities> {
    const tables = this.#transactions.get(handle as object)
    if (!tables) throw wrong('tx', handle, 'what the callback of a write was given would do')
    return tables
  }

  #table(entity: AnyEntity, { rows, put }: Place): Table<unknown, object> {
    const { name } = entity
    const textOf = (id: unknown): string => String(entity.keyOf(id))
    const known = this.#ids.get(name) ?? new Set()
    this.#ids.set(name, known)
    return Object.freeze({
      get: (id: unknown) => deepCopy(rows(name, [textOf(id)])[0]),
      all: () => deepCopy([...rows(name, [...known])]),
      put: (row: object) => {
        const text = textOf(entity.idOf(row))
        known.add(text)
        put(name, text, deepCopy(row))
        return deepCopy(row)
      },
      delete: (id: unknown) => void put(name, textOf(id), undefined),
    })
  }
}

function missing(key: string): Table<unknown, object> {
  const fail = (): never => {
    throw wrong(`rows.${key}`, undefined, `rows: { ${key}: [] } would do, to keep them in memory`)
  }
  return Object.freeze({ get: fail, all: fail, put: fail, delete: fail })
}
