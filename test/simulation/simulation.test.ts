/** The coordinator itself under a seeded scheduler: nothing that is promised breaks (DESIGN §1). */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { simulate } from './proof.ts'
import { runSchedule } from './run.ts'
import { drawSchedule } from './schedule.ts'
import { scheduleOf, tokenOf } from './shrink.ts'

/** The same schedules each time, on any machine: `npm run history` looks at others. */
const seed = 1
const writes = 100_000

test('100,000 simulated writes break no promise', async () => {
  const { signal } = new AbortController()
  const simulated = await simulate({ seed, signal, writes })
  for (const { text } of simulated.violations) console.error(text)
  expect(simulated.violations.map((violation) => violation.seed)).toEqual([])
  expect(simulated.writes).toBeGreaterThanOrEqual(writes)
  expect(simulated.answers).toBeGreaterThan(writes)
})

test.each([7, 1_001, 123_456])('schedule %i is the same each time that it runs', async (seed) => {
  const [first, second] = [
    await runSchedule(drawSchedule(seed)),
    await runSchedule(drawSchedule(seed)),
  ]
  expect(first.trace.length).toBeGreaterThan(300)
  expect(second.trace).toEqual(first.trace)
})

test('a token gives the schedule that it was made of', () => {
  const schedule = drawSchedule(99)
  const shorter = { ...schedule, acts: schedule.acts.filter(({ number }) => number % 7 === 0) }
  expect(scheduleOf(tokenOf(shorter))).toEqual(shorter)
  expect(scheduleOf('99')).toEqual(schedule)
  expect(() => scheduleOf('ninety-nine')).toThrow(/is no schedule/)
})

test('what is simulated is what users start', () => {
  const text = (path: string): string =>
    readFileSync(fileURLToPath(new URL(path, import.meta.url)), 'utf8')
  // The wiring of the library, which imports the coordinator and the fill rule; neither is copied.
  expect(text('./process.ts')).toMatch(
    /import .*\bRunningCache\b.* from '\.\.\/\.\.\/src\/running-cache\.ts'/,
  )
  expect(text('./process.ts')).toMatch(
    /import \{ L1Region \} from '\.\.\/\.\.\/src\/memory\/region\.ts'/,
  )
  expect(text('../../src/lockstep.ts')).toMatch(
    /import \{ .*RunningCache.* \} from '\.\/running-cache\.ts'/,
  )
  for (const part of ['read', 'write', 'relay', 'trust', 'tail', 'log-plane', 'probes', 'told']) {
    expect(text('../../src/running-cache.ts')).toContain(`from './coordinator/${part}.ts'`)
  }
})
