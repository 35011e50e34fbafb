/** `npm run history -- --check FILE` repeats a verdict, and its exit code says which. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import type { Line } from '../history/format.ts'
import { story, withFile } from '../support/history-story.ts'

const script = fileURLToPath(new URL('../../scripts/history.mjs', import.meta.url))

function history(...args: readonly string[]): { status: number | null; out: string; err: string } {
  const done = spawnSync(process.execPath, [script, ...args], { encoding: 'utf8', timeout: 60_000 })
  return { status: done.status, out: done.stdout, err: done.stderr }
}

const check = (lines: readonly Line[], ...args: readonly string[]) =>
  withFile(lines.map((line) => `${JSON.stringify(line)}\n`).join(''), async (file) =>
    history('--check', file, ...args),
  )

const good = story().wrote([0, 10]).read(1_000, 0)
const bad = story().wrote([0, 10]).read(1_500, 0)

test('a good history: exit code 0', async () => {
  const { status, out } = await check(good.all())
  expect(out).toBe(
    [
      '2 writes and 2 reads: 0 violations',
      'An answer of L1, or a proven one, missed a write by 990 ms at most; the bound is 1000 ms.\n',
    ].join('\n'),
  )
  expect(status).toBe(0)
}, 60_000)

test('a bad one: exit code 1, and stdout is one document with --json', async () => {
  const { status, out } = await check(bad.all(), '--json')
  expect(JSON.parse(out)).toMatchObject({ found: 1, violations: [{ rule: 'I3' }], boundMs: 1_000 })
  expect(status).toBe(1)
}, 60_000)

test('one that was cut off: exit code 1, and no verdict', async () => {
  const { status, out, err } = await check(good.all().slice(0, -1), '--json')
  expect({ status, out }).toEqual({ status: 1, out: '' })
  expect(err).toContain('is cut off')
}, 60_000)

test('used wrongly: exit code 2, and how to use it', () => {
  const { status, out, err } = history('--plane', 'zookeeper')
  expect({ status, out }).toEqual({ status: 2, out: '' })
  expect(err).toContain('--plane is "zookeeper"')
  expect(err).toContain('--check FILE')
})
