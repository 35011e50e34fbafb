// The tables of docs/metrics.md and docs/doctor.md, from the catalogues in src. Tables stand between two
// comments each, so that the text around them is written by hand.

export function metricsPage(page, { catalogue, eventCatalogue }) {
  return withTable(
    withTable(page, 'metrics', metricsTable(catalogue)),
    'events',
    eventsTable(eventCatalogue),
  )
}

function metricsTable(catalogue) {
  const rows = Object.entries(catalogue).map(([name, { type, labels, help }]) => [
    `\`${name}\``,
    type,
    labels.map((label) => `\`${label}\``).join(', '),
    help,
  ])
  return table(['metric', 'type', 'labels', 'what it says'], rows)
}

function eventsTable(eventCatalogue) {
  const rows = Object.entries(eventCatalogue).map(([name, { fields, help }]) => [
    `\`${name}\``,
    fields.map((field) => `\`${field}\``).join(', '),
    help,
  ])
  return table(['event', 'fields', 'when it comes'], rows)
}

/** The tables of docs/doctor.md: a table a place, from the catalogue in src/operations. */
export function doctorPage(page, doctorCatalogue) {
  let filled = page
  for (const [place, checks] of Object.entries(doctorCatalogue)) {
    const rows = Object.entries(checks).map(([id, { looksAt, because, remedy }]) => [
      `\`${id}\``,
      looksAt,
      because,
      remedy,
    ])
    filled = withTable(filled, place, table(['check', 'looks at', 'why', 'what to do'], rows))
  }
  return filled
}

export function table(head, rows) {
  const escaped = (cell) => cell.replaceAll('|', '\\|')
  const lines = [head, head.map(() => '---'), ...rows]
  return lines.map((cells) => `| ${cells.map(escaped).join(' | ')} |`).join('\n')
}

export function withTable(page, name, text) {
  const [begin, end] = [`<!-- begin ${name} -->`, `<!-- end ${name} -->`]
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`the page has no place for the table of ${name}`)
  return `${page.slice(0, from + begin.length)}\n\n${text}\n\n${page.slice(to)}`
}
