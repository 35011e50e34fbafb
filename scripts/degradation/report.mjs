/** The cells of a run as a table, for a terminal and for docs/degradation.md. */

const begin = '<!-- begin matrix -->'
const end = '<!-- end matrix -->'
const titles = [
  'broken',
  'how',
  'promised',
  'success',
  'P99',
  'stalest',
  'loads at once',
  'breaker changes',
  'well again after',
  'violations',
  'kept',
]

export function nameOf({ services, fault, faultMs }) {
  return [services.join(' + ') || 'nothing', fault, `${faultMs / 1_000} s`].join(', ')
}

/** As Markdown. */
export function tableOf(cells) {
  const rows = [titles, titles.map(() => '---'), ...cells.map(rowOf)]
  return rows.map((row) => `| ${row.join(' | ')} |`).join('\n')
}

function rowOf(cell) {
  const long = cell.faultMs > 10_000 ? `, ${cell.faultMs / 1_000} s` : ''
  return [
    cell.services.join(' + ') || 'nothing',
    `${cell.fault}${long}`,
    cell.promise,
    share(cell.success),
    ms(cell.p99Ms),
    ms(cell.staleMs),
    String(cell.sourceConcurrency),
    String(cell.transitions),
    cell.recoveryMs === null ? 'never' : ms(cell.recoveryMs),
    String(cell.violations),
    cell.met ? 'yes' : `no: ${cell.broken.join('; ')}`,
  ]
}

/** Rounded down: what failed once is not 100 %. */
function share(value) {
  return `${Math.floor(value * 10_000) / 100} %`
}

function ms(value) {
  return value < 1_000 ? `${Math.round(value)} ms` : `${(value / 1_000).toFixed(1)} s`
}

/** The page with this table in place of its own. */
export function pageWith(page, cells) {
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from < 0 || to < from) throw new Error(`the page has no ${begin} … ${end}`)
  return `${page.slice(0, from + begin.length)}\n\n${tableOf(cells)}\n\n${page.slice(to)}`
}
