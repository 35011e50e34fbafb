/** What is no whole history, or says nothing, is an error that says so: never a pass. */
import { describe, expect, test } from 'vitest'
import { checkHistory } from '../../history/check.ts'
import { HistoryError, type Line } from '../../history/format.ts'
import { Story, story, verdictOn, withFile } from '../../support/history-story.ts'

const whole = (): Line[] => story().wrote([0, 10]).read(20, 1).all()

async function complaint(run: Promise<unknown>): Promise<string> {
  const error: unknown = await run.then(
    () => new Error('it passed'),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(HistoryError)
  return (error as Error).message
}

const textOf = (lines: readonly unknown[]): string =>
  lines.map((line) => `${JSON.stringify(line)}\n`).join('')

const complaintAbout = (text: string): Promise<string> =>
  withFile(text, (file) => complaint(checkHistory(file)))

test('a whole one is judged', async () => {
  expect(await verdictOn(whole())).toMatchObject({ writes: 2, reads: 2, found: 0 })
})

describe('a file that is not whole', () => {
  test('without a line', async () => {
    expect(await complaintAbout('')).toMatch(/history\.jsonl is empty/)
  })

  test('without its last line', async () => {
    const cut = textOf(whole().slice(0, -1))
    expect(await complaintAbout(cut)).toMatch(/is cut off: its last line is not "end"/)
  })

  test('with half a line at its end', async () => {
    const lines = whole()
    const torn = textOf(lines).slice(0, -10)
    expect(await complaintAbout(torn)).toMatch(
      new RegExp(`:${lines.length} is torn: it has no end`),
    )
  })

  test('with half a line in the middle', async () => {
    const lines = textOf(whole()).split('\n')
    lines[3] = (lines[3] as string).slice(0, 20)
    expect(await complaintAbout(lines.join('\n'))).toMatch(/:4 is torn, or no JSON: "{/)
  })

  test('with lines after its end', async () => {
    const lines = whole()
    expect(await complaintAbout(textOf([...lines, lines[1]]))).toMatch(/comes after the line "end"/)
  })

  test('a file that isn’t there', async () => {
    await expect(checkHistory('/nowhere/history.jsonl')).rejects.toThrow(/ENOENT/)
  })
})

describe('a file that is something else', () => {
  test.each([
    ['text', 'Dear reader,\n', /is no history: is torn, or no JSON/],
    ['other JSON', '{"kind":"read"}\n', /is no history: is a "read" whose "process" is undefined/],
    ['a list', '[1]\n', /is no history: has the kind undefined/],
    ['null', 'null\n', /is no history: is no object/],
    ['a line of a history', textOf(whole().slice(1)), /first line is no header/],
    ['two histories', textOf([...whole().slice(0, -1), ...whole()]), /is a second header/],
  ])('%s', async (_, text, says) => {
    expect(await complaintAbout(text)).toMatch(says)
  })

  test('a newer format', async () => {
    const [header, ...others] = whole()
    const newer = textOf([{ ...header, format: 2 }, ...others])
    expect(await complaintAbout(newer)).toMatch(
      /:1 is of format 2, newer than the one known here, 1/,
    )
  })
})

describe('a line that won’t do is named', () => {
  test.each<[string, object, RegExp]>([
    ['a kind', { kind: 'raed' }, /:2 has the kind "raed", which is none/],
    ['a field', { kind: 'end', at: 'late' }, /:2 is a "end" whose "at" is "late"/],
    ['a word', { kind: 'wrote', process: 1, n: 1, end: 1, outcome: 'ok' }, /"outcome" is "ok"/],
    [
      'an outcome without its version',
      { kind: 'wrote', process: 1, n: 1, end: 1, outcome: 'fenced' },
      /a write that committed, and says no version/,
    ],
    [
      'times',
      { kind: 'fault', fault: 'sigstop', target: '1', begin: 2, end: 1 },
      /:2 is a "fault" that ends before it begins/,
    ],
  ])('%s', async (_, line, says) => {
    const [header, ...others] = whole()
    expect(await complaintAbout(textOf([header, line, ...others]))).toMatch(says)
  })
})

describe('a file that contradicts itself', () => {
  test.each<[string, (lines: Line[]) => readonly Line[], RegExp]>([
    ['a write twice', (lines) => [...lines.slice(0, 2), ...lines.slice(1)], /0:1 a second time/],
    ['no begin', (lines) => lines.toSpliced(1, 1), /line 2 ends the write 0:1, which never began/],
    [
      'two ends',
      (lines) => lines.toSpliced(3, 0, lines[2] as Line),
      /line 4 ends the write 0:1 a second/,
    ],
    [
      'an end before the begin',
      (lines) => lines.map((line) => (line.kind === 'wrote' ? { ...line, end: -1e9 } : line)),
      /the write 0:1 ends before it begins/,
    ],
    [
      'a version without a write',
      (lines) => lines.filter((line) => !('n' in line) || line.n !== 2),
      /id 1 was written by 0:2, of which no line tells/,
    ],
    [
      'a write of another row',
      (lines) => lines.map((line) => (line.kind === 'write' ? { ...line, id: 2 } : line)),
      /id 1 was written by 0:2, which is of id 2/,
    ],
    [
      'a version and a shorter log',
      (lines) => lines.map((line) => (line.kind === 'truth' ? { ...line, version: 4 } : line)),
      /has version 4, and a log of 1/,
    ],
    [
      'two truths',
      (lines) => [
        ...lines.slice(0, -1),
        ...lines.filter(({ kind }) => kind === 'truth'),
        ...lines.slice(-1),
      ],
      /tells the truth of id \d a second time/,
    ],
  ])('%s', async (_, change, says) => {
    expect(await complaint(verdictOn(change(whole())))).toMatch(says)
  })
})

describe('a file that says too little is no pass', () => {
  test.each<[string, readonly Line[], RegExp]>([
    ['no write', new Story().read(10, 0).all(), /no write of it returned fenced/],
    [
      'no write that was fenced',
      new Story().wrote([0, 1], { outcome: 'unfenced' }).read(10, 0).all(),
      /no write of it returned fenced/,
    ],
    ['no read', new Story().wrote([0, 1]).all(), /no read of it was answered from L1/],
    [
      'no read from L1',
      new Story().wrote([0, 1]).strong(10, 1).all(),
      /no read of it was answered from L1/,
    ],
    ['no truth', whole().filter(({ kind }) => kind !== 'truth'), /does not say what is true/],
    [
      'a row without a truth',
      whole().filter((line) => line.kind !== 'truth' || line.id !== 2),
      /does not say what is true in the end of id 2/,
    ],
    [
      'a row that nobody was asked for',
      whole().filter((line) => line.kind !== 'left' || line.id !== 2),
      /nobody was asked for id 2 in the end/,
    ],
  ])('%s', async (_, lines, says) => {
    expect(await complaint(verdictOn(lines))).toMatch(says)
  })

  test('a fault of Redis of which the judge doesn’t know what it does', async () => {
    const odd = story().fault('redis-on-fire', [0, 1]).all()
    expect(await complaint(verdictOn(odd))).toMatch(
      /what Redis forgets by the fault "redis-on-fire"/,
    )
  })

  test('any other fault is nothing to the rules', async () => {
    const odd = story().fault('postgres-on-fire', [0, 1]).all()
    expect(await verdictOn(odd)).toMatchObject({ found: 0 })
  })
})
