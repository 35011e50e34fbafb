import { expect, test } from 'vitest'
import { runSchedule } from './run.ts'
import { drawSchedule } from './schedule.ts'

test('try', async () => {
  const n = Number(process.env['N'] ?? 50)
  const from = Number(process.env['FROM'] ?? 1)
  let writes = 0,
    answers = 0
  const bad: string[] = []
  const t = performance.now()
  for (let seed = from; seed < from + n; seed++) {
    const schedule = drawSchedule(seed)
    const out = await runSchedule(schedule)
    writes += out.writes
    answers += out.answers
    if (out.violations.length)
      bad.push(
        `${seed}: ${out.violations
          .slice(0, 2)
          .map((v) => `${v.invariant} @${v.atMs} ${v.text}`)
          .join(' | ')}`,
      )
    if (process.env['TRACE']) console.log(out.trace.join('\n'), JSON.stringify(schedule.scenario))
  }
  console.log(
    n,
    'schedules',
    writes,
    'writes',
    answers,
    'answers',
    Math.round(performance.now() - t),
    'ms',
    bad.length,
    'bad',
  )
  console.log(bad.slice(0, 40).join('\n'))
}, 600_000)
