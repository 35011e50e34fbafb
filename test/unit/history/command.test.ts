/** `npm run history`: what may be asked for, and what is told of it. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ownFolder } from '../../support/servers.ts'

const scripts = new URL('../../../scripts/history/', import.meta.url)
const { parseOptions, UsageError } = await import(new URL('options.mjs', scripts).href)
const { isRight, reportOf, summaryOf, verdictText } = await import(
  new URL('report.mjs', scripts).href
)

describe('what is asked for', () => {
  test('a minute on Kafka with a seed of its own, when nothing is', () => {
    const { seed, ...others } = parseOptions([])
    expect(others).toEqual({ seconds: 60, plane: 'kafka', json: false })
    expect(Number.isInteger(seed)).toBe(true)
    expect(parseOptions([]).seed).not.toBe(seed)
  })

  test.each([
    [['--seconds', '90'], { seconds: 90 }],
    [['--minutes', '20'], { seconds: 1_200 }],
    [['--minutes', '0.5'], { seconds: 30 }],
    [['--seed', '0'], { seed: 0 }],
    [['--plane=outbox', '--json'], { plane: 'outbox', json: true }],
    [['-h'], { help: true }],
  ])('%j', (args, asked) => {
    expect(parseOptions(args)).toMatchObject(asked)
  })

  test('a history to be judged again', () => {
    const file = join(ownFolder('lockstep-history-'), 'history.jsonl')
    writeFileSync(file, '')
    expect(parseOptions(['--check', file])).toEqual({ check: file, json: false })
    expect(() => parseOptions(['--check', file, '--seed', '1'])).toThrow(/--seed can't go with it/)
  })

  test('a simulated schedule to be run again', () => {
    for (const replay of ['7', '7:0,12,299']) {
      expect(parseOptions(['--replay', replay])).toEqual({ replay, json: false })
    }
    expect(() => parseOptions(['--replay', '7', '--seed', '1'])).toThrow(/--seed can't go with it/)
  })

  test.each<[string[], RegExp]>([
    [['--seconds', 'x'], /--seconds is "x"; a number that makes 1 to 86400 seconds would do/],
    [['--seconds', ''], /--seconds is ""/],
    [['--seconds', '0'], /--seconds is "0"/],
    [['--minutes', '1e9'], /--minutes is "1e9"/],
    [['--seconds', '5', '--minutes', '1'], /one of them/],
    [['--seed', '-1'], /--seed/],
    [['--seed', '1.5'], /--seed is "1.5"; a whole number/],
    [['--seed', '99999999999'], /--seed/],
    [['--plane', 'zookeeper'], /--plane is "zookeeper"; kafka or outbox would do/],
    [['--check', '/nowhere/file'], /--check is "\/nowhere\/file", which can't be read/],
    [['--check', '/'], /which is no file/],
    [['--replay', '7:'], /--replay is "7:"; what a violation says/],
    [['--replay', 'x; rm'], /--replay is "x; rm"/],
    [['--fast'], /--fast/],
    [['60'], /60/],
    [['--seconds'], /--seconds/],
  ])('%j is used wrongly, and told so', (args, says) => {
    expect(() => parseOptions(args)).toThrow(UsageError)
    expect(() => parseOptions(args)).toThrow(says)
  })
})

const right = {
  seed: 7,
  simulated: { schedules: 2_000, writes: 30_000, violations: [] as object[] },
  mutants: { caught: 2, total: 2, missed: [] as string[], schedules: { one: 1, two: 2 } },
  real: {
    writes: 3_000,
    reads: 9_000,
    kills: 50,
    faults: ['sigkill', 'sigstop'],
    violations: [],
    found: 0,
    maxStaleMs: 812.5,
    boundMs: 1_000,
  },
}

describe('what is told', () => {
  test('is the numbers of all parts, and nothing else', () => {
    expect(summaryOf(right)).toEqual({
      simulated: { schedules: 2_000, writes: 30_000, violations: 0 },
      real: {
        writes: 3_000,
        reads: 9_000,
        kills: 50,
        faults: ['sigkill', 'sigstop'],
        violations: 0,
        maxStaleMs: 812.5,
        boundMs: 1_000,
      },
      mutants: { caught: 2, total: 2, missed: [] },
      seed: 7,
      bound: {
        schedules: { atMost: 0.0015, nines: 2.8 },
        writes: { atMost: 0.0001, nines: 4 },
        realWrites: { atMost: 0.001, nines: 3 },
      },
    })
    expect(isRight(summaryOf(right))).toBe(true)
  })

  test('is a report for people', () => {
    const report = reportOf(summaryOf(right))
    expect(report).toContain('2,000 schedules with 30,000 writes: 0 violations')
    expect(report).toContain('2 of 2 caught')
    expect(report).toContain('0.001 of real writes (3 nines)')
    expect(report).toContain('missed a write by 812.5 ms; the bound is 1000 ms')
  })

  test.each([
    ['a violation of the simulator', { simulated: { ...right.simulated, violations: [{}] } }],
    ['a violation of the real processes', { real: { ...right.real, found: 1 } }],
    ['a mutant that was missed', { mutants: { ...right.mutants, caught: 1, missed: ['two'] } }],
    ['no mutant at all', { mutants: { caught: 0, total: 0, missed: [], schedules: {} } }],
  ])('%s is wrong', (_, part) => {
    expect(isRight(summaryOf({ ...right, ...part }))).toBe(false)
  })

  test('nothing follows from a run with a violation, nor from none', () => {
    const bounds = (schedules: number, violations: readonly object[]) =>
      summaryOf({ ...right, simulated: { schedules, writes: 3_000_000, violations } }).bound
    expect(bounds(1_000, [{}])).toMatchObject({ schedules: null, writes: null })
    expect(bounds(0, [])).toMatchObject({ schedules: null, writes: { atMost: 0.000001, nines: 6 } })
    expect(bounds(1, [])).toMatchObject({ schedules: { atMost: 1, nines: 0 } })
    const report = reportOf(summaryOf({ ...right, real: { ...right.real, found: 1 } }))
    expect(report).toContain('1 violation\n')
    expect(report).toContain('nothing known of real writes')
  })

  test('a verdict has the words of each violation', () => {
    const verdict = {
      ...right.real,
      found: 3,
      violations: [{ text: 'I3: so' }, { text: 'I4: so' }],
    }
    const text = verdictText(verdict)
    expect(text).toMatch(/^I3: so\n\nI4: so\n\nThese are the first 2\.\n3,000 writes/)
    expect(text).toContain('3 violations')
  })
})
