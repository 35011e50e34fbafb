/** Reads what a scrape returned, strictly: Prometheus' text format, version 0.0.4. */

export interface Scrape {
  /** The value of one series; `undefined`: there is none. Labels in any order, without `namespace`. */
  value(name: string, labels?: Readonly<Record<string, string>>): number | undefined
  /** All series of a name, by their labels without `namespace`. */
  series(name: string): readonly { labels: Readonly<Record<string, string>>; value: number }[]
  readonly names: readonly string[]
  readonly namespaces: ReadonlySet<string | undefined>
}

const line = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/
const label = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/y

export function parseScrape(text: string): Scrape {
  const found: { name: string; labels: Record<string, string>; value: number }[] = []
  const types = new Map<string, string>()
  const helps = new Set<string>()
  if (!text.endsWith('\n')) throw new Error('the last line does not end')
  for (const one of text.split('\n').filter((some) => some !== '')) {
    const [, kind, of, rest] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(one) ?? []
    if (kind === 'HELP' && of) helps.add(of)
    else if (kind === 'TYPE' && of) {
      if (types.has(of)) throw new Error(`two types of ${of}`)
      types.set(of, rest as string)
    } else found.push(parseLine(one))
  }
  for (const { name } of found) {
    const family = types.has(name) ? name : name.replace(/_(bucket|sum|count)$/, '')
    if (!types.has(family) || !helps.has(family)) throw new Error(`${name} has no type or no help`)
  }
  const namespaces = new Set(found.map(({ labels }) => labels.namespace))
  for (const { labels } of found) delete labels.namespace
  const series: Scrape['series'] = (name) => found.filter((one) => one.name === name)
  return {
    series,
    value: (name, labels = {}) =>
      series(name).find((one) => textOf(one.labels) === textOf(labels))?.value,
    names: [...types.keys()],
    namespaces,
  }
}

function parseLine(text: string): { name: string; labels: Record<string, string>; value: number } {
  const [, name, labelText = '', valueText] = line.exec(text) ?? []
  if (!name || !valueText) throw new Error(`not a sample: ${text}`)
  const labels: Record<string, string> = {}
  label.lastIndex = 0
  while (label.lastIndex < labelText.length) {
    const [, key, value] = label.exec(labelText) ?? []
    if (key === undefined || value === undefined) throw new Error(`not labels: ${labelText}`)
    labels[key] = value
  }
  const value = Number(valueText.replace(/^([+-])Inf$/, '$1Infinity'))
  if (Number.isNaN(value)) throw new Error(`not a number: ${text}`)
  return { name, labels, value }
}

const textOf = (labels: Readonly<Record<string, string>>): string =>
  JSON.stringify(Object.entries(labels).sort())
