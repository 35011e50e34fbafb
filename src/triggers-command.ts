/** What `lockstep triggers` prints. */
import type { InstalledTriggers, ListedTriggers, RemovedTriggers } from './postgres/triggers.ts'

export function installedText({
  table,
  entity,
  id,
  installed,
  isKnown,
}: InstalledTriggers): string {
  const done =
    installed.length === 0
      ? `${table} has its triggers`
      : `triggers installed on ${installed.join(', ')}`
  return `${done}: its rows are "${entity}" by ${id}${isKnown ? '' : `\n${unknown(entity)}`}\n`
}

function unknown(entity: string): string {
  return `no cache has had an entity "${entity}" yet; nobody is told until one has`
}

export function removedText({ table, removed }: RemovedTriggers): string {
  if (removed.length === 0) return `${table} has no triggers of lockstep\n`
  return removed.map(({ entity, id }) => `removed "${entity}" by ${id} from ${table}\n`).join('')
}

export function listedText(listed: readonly ListedTriggers[]): string {
  if (listed.length === 0) return 'no table has triggers of lockstep\n'
  const head = ['table', 'entity', 'id', 'covered', 'always']
  const rows = listed.map(({ table, entity, id, tables, lacking, notAlways }) => [
    table,
    entity,
    id,
    `${tables - lacking.length} of ${tables}`,
    notAlways.length === 0 ? 'yes' : 'no',
  ])
  const widths = head.map((_, column) =>
    Math.max(...[head, ...rows].map((cells) => cells[column]?.length ?? 0)),
  )
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  return `${[line(head), ...rows.map(line), ...listed.flatMap(troublesOf)].join('\n')}\n`
}

/** What isn't as it should be. */
function troublesOf(listed: ListedTriggers): readonly string[] {
  const { table, entity, id, lacking, notAlways, isKnown, problem } = listed
  const again = `lockstep triggers install '${table}' --entity ${entity} --id '${id}'`
  return [
    ...(lacking.length > 0 ? [`lacking on ${lacking.join(', ')}: ${again}`] : []),
    ...(notAlways.length > 0
      ? [`not enabled as they should be on ${notAlways.join(', ')}: ${again}`]
      : []),
    ...(problem === undefined ? [] : [`writes of ${table} fail: ${problem}`]),
    ...(isKnown ? [] : [unknown(entity)]),
  ]
}

/** Some write may go unheard. */
export function isIncomplete({ lacking, notAlways, problem }: ListedTriggers): boolean {
  return lacking.length + notAlways.length > 0 || problem !== undefined
}
