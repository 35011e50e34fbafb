/** The rows as a table for people. */
import type { BenchResults } from './bench.ts'
import type { Row } from './row.ts'
import type { Target } from './row-plans.ts'

const columns = [30, 22, 9, 19, 9, 6] as const

export function tableOf({ machine, commit, rows }: BenchResults): string {
  const { cpu, cores, node, postgres, redis, kafka, load } = machine
  return [
    `${cpu}, ${cores} cores; Node ${node}, PostgreSQL ${postgres}, ${redis === null ? 'no Redis' : `Redis ${redis}`}, ${kafka === null ? 'no Kafka' : `Kafka ${kafka}`}; load ${load.toFixed(1)}`,
    `commit ${commit ?? 'unknown'}`,
    '',
    line(['row', 'value', 'ratio', 'half of the rounds', 'target', 'met']),
    ...rows.map((row) => line(cellsOf(row))),
    '',
  ].join('\n')
}

function cellsOf(row: Row): readonly string[] {
  const { name, value, unit, ratio, spread, target, met, reason } = row
  if (value === null) return [name, `not measured: ${reason}`]
  return [
    name,
    `${number(value)} ${unit}`,
    ratio === null ? '' : number(ratio),
    spread === null ? '' : `${number(spread.low)} – ${number(spread.high)}`,
    target === null ? '' : textOf(target),
    met === null ? '' : met ? 'yes' : 'NO',
  ]
}

function line(cells: readonly string[]): string {
  const padded = cells.map((cell, index) =>
    index === 0 ? cell.padEnd(columns[0]) : cell.padStart(columns[index] as number),
  )
  return `  ${padded.join('  ')}`.trimEnd()
}

function number(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US')
  if (Number.isInteger(value)) return String(value)
  return Math.abs(value) < 0.01 ? value.toPrecision(2) : value.toFixed(2)
}

function textOf(target: Target): string {
  return 'atLeast' in target ? `≥ ${target.atLeast}` : `≤ ${target.atMost}`
}
