/** The judge finds nothing in histories that keep all promises, however little they keep them by, and finds a single lie in one. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { randomBelow, seededRandom } from '../../src/demo/random.ts'
import type { Rule } from '../history/accusations.ts'
import type { Line, ReadLine } from '../history/format.ts'
import { verdictOn } from '../support/history-story.ts'
import { type Commit, randomHistory, type World } from '../support/random-history.ts'

const seeds = fc.integer({ min: 0, max: 2 ** 31 })

test('a history that keeps all promises passes', async () => {
  let reads = 0
  let mostStaleMs = 0
  await fc.assert(
    fc.asyncProperty(seeds, async (seed) => {
      const { lines } = randomHistory(seed)
      const verdict = await verdictOn(lines)
      expect(verdict.violations.map(({ text }) => text)).toEqual([])
      expect(verdict.maxStaleMs).toBeLessThanOrEqual(verdict.boundMs)
      reads += verdict.reads
      mostStaleMs = Math.max(mostStaleMs, verdict.maxStaleMs)
    }),
    { numRuns: 60 },
  )
  // They lie close to what is allowed, or they would show nothing.
  expect(reads).toBeGreaterThan(10_000)
  expect(mostStaleMs).toBeGreaterThan(900)
})

/** Makes one line a lie, of those where it is certain; `undefined`: there is none. */
type Lie = (world: World, random: () => number) => Line[] | undefined

const lies: Record<string, { rules: readonly Rule[]; lie: Lie }> = {
  'a bounded read from L1 goes back beyond the bound': {
    rules: ['I3'],
    lie: (world, random) =>
      changeRead(world, random, (read) => {
        if (read.tier !== 'l1' || read.ticket > 0) return undefined
        return older(world, read, ({ end }) => end < read.begin - world.boundNs)
      }),
  },
  'a strong read goes back before a fenced write': {
    rules: ['I4'],
    lie: (world, random) =>
      changeRead(world, random, (read) => {
        if (read.consistency !== 'strong') return undefined
        return older(world, read, ({ end, isFenced }) => isFenced && end < read.begin)
      }),
  },
  'a read forgets its ticket': {
    rules: ['I10'],
    lie: (world, random) =>
      changeRead(world, random, (read) => (read.ticket > 0 ? read.ticket - 1 : undefined)),
  },
  'a read sees what is written only later': {
    rules: ['I4', 'value'],
    lie: (world, random) =>
      changeRead(world, random, ({ id, end }) => {
        const next = (world.commits.get(id) ?? []).findIndex(({ begin }) => begin > end)
        return next < 0 ? undefined : next + 1
      }),
  },
  'a read sees what is written never': {
    rules: ['value'],
    lie: (world, random) =>
      changeRead(world, random, ({ id }) => (world.commits.get(id)?.length ?? 0) + 1),
  },
  'a read names another writer': {
    rules: ['value'],
    lie: (world, random) =>
      change(world, random, (line) => {
        return line.kind === 'read' ? { ...line, writer: '999:1' } : undefined
      }),
  },
  'a write that committed says that it failed': {
    rules: ['told'],
    lie: (world, random) =>
      change(world, random, (line) => {
        if (line.kind !== 'wrote' || line.version === undefined) return undefined
        const { version: _, ...others } = line
        return { ...others, outcome: 'failed' }
      }),
  },
  'a write says another version': {
    rules: ['told'],
    lie: (world, random) =>
      change(world, random, (line) => {
        if (line.kind !== 'wrote' || line.version === undefined) return undefined
        return { ...line, version: line.version + 1 }
      }),
  },
  'a write that failed says that it committed': {
    rules: ['I2'],
    lie: (world, random) =>
      change(world, random, (line) => {
        if (line.kind !== 'wrote' || line.outcome !== 'failed') return undefined
        return { ...line, outcome: 'fenced', version: 1 }
      }),
  },
  'somebody is left with an old version': {
    rules: ['I1'],
    lie: (world, random) =>
      change(world, random, (line) => {
        if (line.kind !== 'left' || line.version === 0) return undefined
        return { ...line, version: line.version - 1 }
      }),
  },
}

test.each(Object.entries(lies))('it is found when %s', async (_, { rules, lie }) => {
  let lied = 0
  await fc.assert(
    fc.asyncProperty(seeds, async (seed) => {
      const lines = lie(randomHistory(seed), seededRandom(seed + 1))
      if (!lines) return
      lied++
      const { violations } = await verdictOn(lines)
      expect(violations.filter(({ rule }) => rules.includes(rule))).not.toEqual([])
    }),
    { numRuns: 25 },
  )
  expect(lied).toBeGreaterThan(15)
})

function change(
  { lines }: World,
  random: () => number,
  lie: (line: Line) => Line | undefined,
): Line[] | undefined {
  const changed = lines.flatMap((line, at) => {
    const lied = lie(line)
    return lied ? [{ at, lied }] : []
  })
  if (changed.length === 0) return undefined
  const { at, lied } = changed[randomBelow(changed.length, random)] as (typeof changed)[0]
  return lines.with(at, lied)
}

function changeRead(
  world: World,
  random: () => number,
  versionOf: (read: ReadLine) => number | undefined,
): Line[] | undefined {
  return change(world, random, (line) => {
    if (line.kind !== 'read') return undefined
    const version = versionOf(line)
    if (version === undefined) return undefined
    return { ...line, version, writer: world.commits.get(line.id)?.[version - 1]?.tag ?? null }
  })
}

/** The version before the newest of those that it must see. */
function older(
  { commits }: World,
  { id }: ReadLine,
  isDue: (commit: Commit) => boolean,
): number | undefined {
  const due = (commits.get(id) ?? []).findLastIndex(isDue)
  return due < 0 ? undefined : due
}
