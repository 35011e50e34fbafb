/** What `lockstep doctor` prints. */
import type { Config } from './config.ts'
import type { DoctorRow } from './model/doctor.ts'

/** Skipped checks that are named one by one. */
const mostNamed = 3

/** A table of what was looked at, and what to do about what isn't well. */
export function textOf(rows: readonly DoctorRow[]): string {
  const shown = rows.filter(({ state }) => state !== 'skipped')
  const cells = [
    ['check', 'state', 'found'],
    ...shown.map((row) => [row.check, row.state, row.found]),
  ]
  const widths = [0, 1].map((column) => Math.max(...cells.map((one) => one[column]?.length ?? 0)))
  const lines = cells.map((one) =>
    one
      .map((cell, column) => oneLine(cell).padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  )
  return `${[...lines, ...skippedLines(rows), ...remedyLines(shown), verdictOf(rows)].join('\n')}\n`
}

function skippedLines(rows: readonly DoctorRow[]): readonly string[] {
  const groups = new Map<string, DoctorRow[]>()
  for (const row of rows.filter(({ state }) => state === 'skipped')) {
    const name = `${row.place} ${row.found}`
    groups.set(name, [...(groups.get(name) ?? []), row])
  }
  return [...groups.values()].map((group) => {
    const names = group.map(({ check }) => check)
    const [{ place, found }] = group as [DoctorRow]
    const which = names.length > mostNamed ? `${names.length} checks of ${place}` : names.join(', ')
    return `skipped: ${which}: ${oneLine(found)}`
  })
}

function remedyLines(rows: readonly DoctorRow[]): readonly string[] {
  return rows
    .filter(({ state }) => state !== 'ok')
    .flatMap(({ check, state, found, because, remedy }) => [
      '',
      `${state}: ${check}: ${oneLine(found)}`,
      `  why: ${because ?? ''}`,
      `  do:  ${oneLine(remedy ?? '')}`,
    ])
}

function verdictOf(rows: readonly DoctorRow[]): string {
  const count = (wanted: DoctorRow['state']): number =>
    rows.filter(({ state }) => state === wanted).length
  return `\n${count('ok')} ok, ${count('warning')} warnings, ${count('broken')} broken, ${count('skipped')} skipped`
}

/** What came from elsewhere must not write to the terminal as it likes. */
function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ')
}

// ---------------------------------------------------------------- secrets

/** Whatever services said: somebody may send back what was sent. */
export function withoutSecrets(rows: readonly DoctorRow[], config: Config): readonly DoctorRow[] {
  const secrets = secretsOf(config).map((one) => one.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  if (secrets.length === 0) return rows
  // Of a word that merely contains a short one nothing would be left.
  const pattern = new RegExp(
    `(?<![\\p{L}\\p{N}_])(?:${secrets.join('|')})(?![\\p{L}\\p{N}_])`,
    'gu',
  )
  return rows.map((row) => ({ ...row, found: row.found.replace(pattern, '***') }))
}

function secretsOf({ databaseUrl, redisUrl, prometheusUrl, kafka }: Config): readonly string[] {
  const ofUrls = [databaseUrl, redisUrl, prometheusUrl].flatMap((text) =>
    text === undefined ? [] : secretsIn(text),
  )
  const { sasl } = (kafka ?? {}) as { readonly sasl?: { readonly password?: string } }
  const all = [...ofUrls, sasl?.password].filter((one) => one !== undefined && one !== '')
  // The longest first: one may begin with another.
  return ([...new Set(all)] as string[]).sort((one, other) => other.length - one.length)
}

function secretsIn(text: string): readonly string[] {
  if (!URL.canParse(text)) return [text]
  const { username, password, searchParams } = new URL(text)
  const plain = decoded(password)
  const basic = Buffer.from(`${decoded(username)}:${plain}`).toString('base64')
  return [password, plain, ...(password === '' ? [] : [basic]), ...searchParams.getAll('password')]
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
