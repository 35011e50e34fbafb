/** The option `bloom` of an entity: which ids exist, and how large the filter over them is. */
import type { LoadContext } from './entity.ts'
import { isPlainObject, wrong } from './wrong.ts'

interface BloomSize {
  /** The share of absent ids that it takes for "maybe" (default 0.001). */
  falsePositiveRate?: number
}

/** The ids are one column of a table of the source. */
export interface BloomTable extends BloomSize {
  /** As in SQL: `cities`, `shop.cities`. */
  table: string
  /** Its text is the id's; it has an index (as a primary key has), or each page of it is a sort of all. */
  column: string
  /** How many ids it is made for (default: a quarter more than there are, at least 1,000). */
  capacity?: number
  ids?: undefined
}

/** The ids are whatever the generator yields. */
export interface BloomIds<Id, Db> extends BloomSize {
  /**
   * Every id that exists, each at least once, in any order; read anew by each rebuild. `db` reads the
   * primary, over a connection of its own: what has committed before the call must be seen.
   */
  ids(context: LoadContext<Db>): AsyncIterable<Id>
  /** How many ids it is made for. */
  capacity: number
  table?: undefined
  column?: undefined
}

export type BloomOptions<Id, Db> = BloomTable | BloomIds<Id, Db>

/** The option, settled. */
export interface Bloom {
  readonly falsePositiveRate: number
  /** `undefined`: by a count. */
  readonly capacity: number | undefined
  readonly from:
    | { readonly kind: 'table'; readonly table: string; readonly column: string }
    | {
        readonly kind: 'ids'
        readonly ids: (context: LoadContext<never>) => AsyncIterable<unknown>
      }
}

export const bloomDefaults = { falsePositiveRate: 0.001 } as const

const rates = { least: 1e-6, most: 0.1 }
/** More would not fit into one string of Redis at any rate. */
const mostIds = 2 ** 32
const known = ['table', 'column', 'ids', 'capacity', 'falsePositiveRate']
const eitherWouldDo =
  "an object like { table: 'cities', column: 'id' } or { ids: async function* ({ db }) { … }, capacity: 1_000_000 } would do"

/** Throws `OPTION_INVALID`; `name`: as `city.bloom`. */
export function settleBloom(
  name: string,
  given: BloomOptions<unknown, never>,
  hasIdToString: boolean,
): Bloom {
  if (!isPlainObject(given)) throw wrong(name, given, eitherWouldDo)
  for (const [key, value] of Object.entries(given)) {
    if (!known.includes(key)) throw wrong(`${name}.${key}`, value, eitherWouldDo)
  }
  const { table, column, ids, capacity, falsePositiveRate: rate } = given
  if (
    rate !== undefined &&
    !(typeof rate === 'number' && rate >= rates.least && rate <= rates.most)
  ) {
    throw wrong(
      `${name}.falsePositiveRate`,
      rate,
      `a share between ${rates.least} and ${rates.most} would do`,
    )
  }
  const isCount = Number.isSafeInteger(capacity) && (capacity as number) > 0
  if (capacity !== undefined && !(isCount && capacity <= mostIds)) {
    throw wrong(`${name}.capacity`, capacity, `a whole number from 1 to ${mostIds} would do`)
  }
  const size = { falsePositiveRate: rate ?? bloomDefaults.falsePositiveRate, capacity }
  if (ids !== undefined) {
    if (typeof ids !== 'function') {
      throw wrong(`${name}.ids`, ids, 'an async generator function that yields ids would do')
    }
    if (table !== undefined || column !== undefined) {
      throw wrong(`${name}.ids`, 'given beside a table', 'one of the two would do')
    }
    if (capacity === undefined) {
      throw wrong(`${name}.capacity`, capacity, 'how many ids there may be would do')
    }
    return { ...size, from: { kind: 'ids', ids } }
  }
  if (hasIdToString) {
    throw wrong(
      `${name}.table`,
      table,
      'with an idToString the ids have to be yielded: { ids, capacity } would do',
    )
  }
  for (const [key, value] of Object.entries({ table, column })) {
    if (typeof value === 'string' && value !== '' && !value.includes('\0')) continue
    throw wrong(`${name}.${key}`, value, eitherWouldDo)
  }
  return { ...size, from: { kind: 'table', table: table as string, column: column as string } }
}
