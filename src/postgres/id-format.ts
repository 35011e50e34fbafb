/**
 * How a row's id is made of its columns: one column by its name (`id`), or a format with columns in
 * braces (`{tenant}:{id}`). As text it must be what the cache makes of the id, or nothing is dropped:
 * so only columns of types whose text is what `pg` hands to JavaScript.
 */
import { type Client, escapeIdentifier, escapeLiteral } from 'pg'
import { wrong } from '../model/entity.ts'

/** Text as it stands, or the name of a column. */
type Part = { readonly text: string } | { readonly column: string }

/** The id as SQL: of the row that goes by `row` there. */
export interface IdExpressions {
  /** What ids are compared and gathered as: the bare column where it has a short type of its own. */
  readonly key: (row: string) => string
  /** Which keys a cache can have; others are left out. */
  readonly isUsable: (key: string) => string
  /** No two rows have the same. */
  readonly isUnique: boolean
  /** Rows of one statement up to which their keys are gathered in one array: to find a place in one of texts takes time. */
  readonly mostAtOnce: number
}

interface Column {
  readonly name: string
  readonly number: number
  readonly type: string
  readonly kind: 'short' | 'text' | 'printed' | 'virtual' | 'other'
}

/** The one way to write it, so that two ways are not taken for two ids. */
export function settleIdFormat(format: string): string {
  const parts = partsOf(format)
  const [only] = parts
  if (parts.length === 1 && only && 'column' in only) return only.column
  return parts
    .map((part) => ('column' in part ? `{${part.column}}` : part.text.replace(/[{}]/g, '$&$&')))
    .join('')
}

function partsOf(format: string): readonly Part[] {
  if (!/[{}]/.test(format)) return [{ column: format }]
  const parts: Part[] = []
  let text = ''
  for (const [token, column] of format.matchAll(/\{\{|\}\}|\{([^{}]+)\}|[^{}]+|[{}]/gs)) {
    if (column === undefined) {
      if (token === '{' || token === '}') {
        throw wrong('--id', format, `a column like 'id' or a format like '{tenant}:{id}' would do`)
      }
      text += token === '{{' || token === '}}' ? token[0] : token
      continue
    }
    if (text) parts.push({ text })
    parts.push({ column })
    text = ''
  }
  if (text) parts.push({ text })
  return parts
}

// 'short' types are cheap to compare; the text of the others must be compared, because values that
// differ as text may be equal (numeric).
const columnsStatement = `
  select a.attname as name, a.attnum as number, pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
    case
      when a.attgenerated = 'v' then 'virtual'
      when b.typtype = 'e' or b.typname = 'bpchar' then 'printed'
      when b.typnamespace <> 'pg_catalog'::regnamespace then 'other'
      when b.typname in ('int2', 'int4', 'int8', 'uuid') then 'short'
      when b.typname in ('text', 'varchar', 'numeric') then 'text'
      else 'other'
    end as kind
  from pg_attribute a
  cross join lateral (
    with recursive chain as (
      select t.* from pg_type t where t.oid = a.atttypid
      union all
      select t.* from chain c join pg_type t on t.oid = c.typbasetype where c.typtype = 'd'
    )
    select * from chain where typtype <> 'd'
  ) b
  where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped`

const uniqueStatement = `
  select exists (
    select from pg_index i
    where i.indrelid = $1 and i.indisunique and i.indisvalid and i.indpred is null
      and not exists (
        select from unnest(i.indkey::int2[]) with ordinality k (number, place)
        where k.place <= i.indnkeyatts and k.number <> all ($2::int2[])
      )
  ) as is_unique`

/** Throws `OPTION_INVALID` where the table's columns can't give such an id. */
export async function idExpressionsOf(
  connection: Client,
  table: { readonly oid: number; readonly name: string },
  format: string,
  option = '--id',
): Promise<IdExpressions> {
  const parts = partsOf(format)
  const { rows: columns } = await connection.query<Column>(columnsStatement, [table.oid])
  const used = parts.flatMap((part) => ('column' in part ? [columnOf(part.column)] : []))
  if (used.length === 0) throw wrong(option, format, 'one that names a column would do')
  const { rows } = await connection.query<{ is_unique: boolean }>(uniqueStatement, [
    table.oid,
    used.map(({ number }) => number),
  ])
  const isUnique = rows[0]?.is_unique ?? false
  const [only] = used
  if (parts.length === 1 && only?.kind === 'short') {
    return {
      key: (row) => `${row}.${escapeIdentifier(only.name)}`,
      isUsable: (key) => `${key} is not null`,
      isUnique,
      mostAtOnce: 1_000_000,
    }
  }
  return {
    key: (row) => `(${parts.map((part) => textOf(part, row)).join(' || ')}) collate "C"`,
    isUsable: (key) => `length(${key}) between 1 and 512`,
    isUnique,
    mostAtOnce: 50_000,
  }

  function columnOf(name: string): Column {
    const column = columns.find((one) => one.name === name)
    if (!column) {
      const names = columns.map((one) => one.name).join(', ')
      throw wrong(option, format, `${table.name} has no column "${name}"; one of ${names} would do`)
    }
    if (column.kind === 'virtual' || column.kind === 'other') {
      const what = column.kind === 'virtual' ? 'virtual' : column.type
      throw wrong(
        option,
        format,
        `column "${name}" of ${table.name} is ${what}; a stored one of type smallint, integer, bigint, numeric, text, varchar, char, uuid or an enum would do`,
      )
    }
    return column
  }

  function textOf(part: Part, row: string): string {
    if ('text' in part) return escapeLiteral(part.text)
    const value = `${row}.${escapeIdentifier(part.column)}`
    // By the type's output function: a cast may be anybody's, and would run with these rights.
    return columnOf(part.column).kind === 'printed'
      ? `case when ${value} is not null then pg_catalog.format('%s', ${value}) end`
      : `${value}::text`
  }
}
