/**
 * The ids of one column of a table, by keyset over the primary: each page begins behind the last id
 * of the one before, so that a scan that was left goes on where it was. Ids of a page's end that
 * compare equal come with it (numeric 1.0 and 1.00 are two ids).
 */
import { type Client, escapeIdentifier } from 'pg'
import type { Clock } from '../model/clock.ts'
import type { IdPage, IdScan, ScanStart } from '../model/filter-ports.ts'
import { wrong } from '../model/wrong.ts'
import { idExpressionsOf } from './id-format.ts'
import type { Pool } from './pool.ts'
import { askDeadlineMs, ScanConnection } from './scan-connection.ts'
import { transact } from './transact.ts'
import { findTable } from './trigger-tables.ts'

/** A page in one answer, and what its deadline is for; a column without an index sorts all for it. */
const idsAPage = 20_000
const pageDeadlineMs = 60_000
const countDeadlineMs = 300_000

export interface IdScanOptions {
  readonly pool: Pool
  readonly clock: Clock
  /** As in errors: `city.bloom`. */
  readonly option: string
  readonly table: string
  readonly column: string
  readonly idsAPage?: number
}

interface Statements {
  readonly count: string
  readonly first: string
  readonly next: string
}

export class PostgresIdScan implements IdScan {
  readonly canResume = true
  readonly #options: IdScanOptions
  readonly #connection: ScanConnection

  constructor(options: IdScanOptions) {
    this.#options = options
    this.#connection = new ScanConnection(options)
  }

  async count(signal: AbortSignal): Promise<number> {
    return this.#connection.run(countDeadlineMs, signal, async (connection) => {
      const { count } = await statementsFor(connection, this.#options)
      const { rows } = await connection.query<{ ids: string }>(count)
      return Number(rows[0]?.ids)
    })
  }

  async *pages(cursor: string | undefined, signal: AbortSignal): AsyncGenerator<IdPage> {
    const statements = await this.#connection.run(askDeadlineMs, signal, (connection) =>
      statementsFor(connection, this.#options),
    )
    const { idsAPage: limit = idsAPage } = this.#options
    for (let from = cursor; ; ) {
      const ids = await this.#connection.run(pageDeadlineMs, signal, async (connection) => {
        const text = from === undefined ? statements.first : statements.next
        const values = from === undefined ? [] : [from]
        const { rows } = await connection.query<[string]>({ text, values, rowMode: 'array' })
        return rows.map(([id]) => id)
      })
      from = ids.length < limit ? undefined : ids.at(-1)
      yield { ids, next: from }
      if (from === undefined) return
    }
  }

  xid(signal: AbortSignal): Promise<ScanStart> {
    return this.#connection.xid(signal)
  }

  stateOf(start: ScanStart, signal: AbortSignal): Promise<'ended' | 'open' | 'outlived'> {
    return this.#connection.stateOf(start, signal)
  }

  rest(): void {
    this.#connection.close()
  }
}

/** Throws `OPTION_INVALID` where the text of the column is not what the cache makes of the id. */
function statementsFor(
  connection: Client,
  { option, table: given, column, idsAPage: limit = idsAPage }: IdScanOptions,
): Promise<Statements> {
  // A column by its name alone: braces would be a format, whose text no index is sorted by.
  if (/[{}]/.test(column))
    throw wrong(`${option}.column`, column, 'the name of one column would do')
  return transact(connection, 'begin read only', async () => {
    const table = await findTable(connection, given, `${option}.table`)
    const { key, isUsable } = await idExpressionsOf(connection, table, column, `${option}.column`)
    const order = `t.${escapeIdentifier(column)}`
    const id = key('t')
    const page = (where: string): string =>
      `select (${id})::text from ${table.name} t where ${isUsable(id)}${where}
       order by ${order} fetch first ${limit} rows with ties`
    return {
      count: `select count(*) as ids from ${table.name} t where ${isUsable(id)}`,
      first: page(''),
      next: page(` and ${order} > $1`),
    }
  })
}
