/** Each rule finds the history that breaks it, and passes the one that just doesn't. */
import { describe, expect, test } from 'vitest'
import type { Rule } from '../../history/accusations.ts'
import { type Story, story, verdictOn } from '../../support/history-story.ts'

const row2 = { id: 2 } as const
const unproven = { tier: 'l2', proven: false } as const
const ms = 1e6

interface Pair {
  readonly rule: Rule
  readonly says: RegExp
  readonly bad: Story
  readonly good: Story
}

/** By what is wrong in the first of two histories; the second differs in that alone. */
const pairs: Record<string, Pair> = {
  'a bounded read from L1 that misses what had returned more than the bound before': {
    rule: 'I3',
    says: /id 1 by process 1, answered from l1, saw version 0, and version 1 had committed at least 1000\.1 ms before it began; the bound is 1000 ms/,
    bad: story().wrote([0, 10]).read(1_010.1, 0),
    good: story().wrote([0, 10]).read(1_010, 0),
  },
  'one that misses a write which was killed, and which somebody else has seen': {
    rule: 'I3',
    says: /had been seen or had returned/,
    bad: story().died(0, { commits: true }).strong(50, 1).read(1_051.1, 0),
    good: story().died(0, { commits: true }).strong(50, 1).read(1_051, 0),
  },
  'one that misses a write which a later write must have found': {
    rule: 'I3',
    says: /version 1 had committed/,
    bad: story().died(0, { commits: true }).wrote([40, 60]).read(1_061, 0),
    good: story().died(0, { commits: true }).wrote([40, 60]).read(1_060, 0),
  },
  'a proven answer of Redis that misses too much': {
    rule: 'I3',
    says: /answered from l2/,
    bad: story().wrote([0, 10], { outcome: 'unfenced' }).read(1_011, 0, { tier: 'l2' }),
    good: story().wrote([0, 10], { outcome: 'unfenced' }).read(1_011, 0, unproven),
  },
  'an answer of the source that misses too much': {
    rule: 'I3',
    says: /answered from source/,
    bad: story().wrote([0, 10]).read(1_011, 0, { tier: 'source' }),
    good: story().wrote([0, 10]).read(1_010, 0, { tier: 'source' }),
  },
  'an unproven answer of Redis that misses what Redis was told of': {
    rule: 'I1',
    says: /missed version 1, which had returned fenced more than the bound before/,
    bad: story().wrote([0, 10]).read(1_011, 0, unproven),
    good: story().wrote([0, 10]).read(1_010, 0, unproven),
  },
  'an unproven answer of Redis, which has lost nothing since': {
    rule: 'I1',
    says: /Redis has lost nothing since/,
    bad: story().fault('redis-flush', [-20, -1]).wrote([0, 10]).read(1_011, 0, unproven),
    good: story().fault('redis-flush', [-20, 0]).wrote([0, 10]).read(1_011, 0, unproven),
  },
  'a strong read that misses what had returned fenced': {
    rule: 'I4',
    says: /the strong read of id 1 by process 1, answered from l2, missed version 1/,
    bad: story().wrote([0, 10]).strong(10.1, 0),
    good: story().wrote([0, 10]).strong(10, 0),
  },
  'a strong read after a write that was not fenced, and a fenced one': {
    rule: 'I4',
    says: /missed version 2/,
    bad: story().wrote([0, 10], { outcome: 'unfenced' }).wrote([11, 20]).strong(21, 1),
    good: story().wrote([0, 10]).wrote([11, 20], { outcome: 'unfenced' }).strong(21, 1),
  },
  'a strong read that misses an unfenced write beyond the bound': {
    rule: 'I4',
    says: /had committed at least 1001\.0 ms/,
    bad: story().wrote([0, 10], { outcome: 'unfenced' }).strong(1_011, 0),
    good: story().wrote([0, 10], { outcome: 'unfenced' }).strong(1_010, 0),
  },
  'a strong read after Redis was flushed': {
    rule: 'I4',
    says: /fault: redis-flush/,
    bad: story().wrote([0, 10]).fault('redis-flush', [20, 20]).strong(30, 0),
    good: story().wrote([0, 10]).fault('redis-failover', [20, 20]).strong(30, 0),
  },
  'a strong read before a failover': {
    rule: 'I4',
    says: /no fault went on meanwhile/,
    bad: story().wrote([0, 10]).strong(20, 0).fault('redis-failover', [21.1, 30]),
    good: story().wrote([0, 10]).strong(20, 0).fault('redis-failover', [21, 30]),
  },
  'a strong read beyond the bound after a failover': {
    rule: 'I4',
    says: /redis-failover/,
    bad: story().wrote([0, 10]).fault('redis-failover', [20, 20]).strong(1_011, 0),
    good: story().wrote([0, 10]).fault('redis-failover', [20, 20]).strong(1_010, 0),
  },
  'a strong read that sees less than one that was over': {
    rule: 'I4',
    says: /saw version 0, after a strong read had seen 1/,
    bad: story().wrote([0, 100]).strong(20, 1).strong(21.1, 0),
    good: story().wrote([0, 100]).strong(20, 1).strong(21, 0),
  },
  'one that does so and nothing is known of Redis': {
    rule: 'I4',
    says: /after a strong read had seen 1/,
    bad: story().wrote([0, 100]).strong(20, 1).fault('redis-stopped', [21, 22]).strong(25, 0),
    good: story().wrote([0, 100]).strong(20, 1).fault('redis-flush', [21, 22]).strong(25, 0),
  },
  'a strong read that sees what is written only after it': {
    rule: 'I4',
    says: /saw version 1, whose write had not begun/,
    bad: story().wrote([31.1, 40]).strong(30, 1),
    good: story().wrote([31, 40]).strong(30, 1),
  },
  'a read that misses the write of its ticket': {
    rule: 'I10',
    says: /read with a ticket of id 1 .* saw version 1, and its ticket is of version 2/,
    bad: story().wrote([0, 10]).wrote([11, 20]).read(21, 1, { ticket: 2 }),
    good: story().wrote([0, 10]).wrote([11, 20]).read(21, 1, { ticket: 1 }),
  },
  'a read with a ticket across a failover': {
    rule: 'I10',
    says: /redis-failover/,
    bad: story().wrote([0, 9]).fault('redis-failover', [10, 11]).strong(12, 0, { ticket: 1 }),
    good: story().wrote([0, 9]).fault('redis-failover', [10, 11]).strong(12, 0),
  },
  'a bounded read with a ticket that is beyond the bound': {
    rule: 'I3',
    says: /at least 1001/,
    bad: story().wrote([0, 5]).wrote([6, 10]).read(1_011, 1, { ticket: 1 }),
    good: story().wrote([0, 5]).wrote([6, 10]).read(1_010, 1, { ticket: 1 }),
  },
  'an answer of L1 after a write that waited for all instances': {
    rule: 'everywhere',
    says: /missed version 1, which had waited for all instances/,
    bad: story().wrote([0, 10], { wait: 'everywhere' }).read(10.1, 0),
    good: story().wrote([0, 10], { wait: 'everywhere' }).read(10, 0),
  },
  'a version that never committed': {
    rule: 'value',
    says: /saw version 2, which never committed: PostgreSQL has 1/,
    bad: story().wrote([0, 10]).read(20, 2),
    good: story().wrote([0, 10]).wrote([11, 25]).read(20, 2),
  },
  'a version with the tag of another write': {
    rule: 'value',
    says: /as written by 7:7, and it is by 0:2/,
    bad: story().wrote([0, 10]).read(20, 1, { writer: '7:7' }),
    good: story().wrote([0, 10]).read(20, 1, { writer: '0:2' }),
  },
  'the first version with a tag': {
    rule: 'value',
    says: /as written by 0:9, and it is by nobody/,
    bad: story().read(20, 0, { writer: '0:9' }),
    good: story().read(20, 0),
  },
  'a bounded read of what is written only after it': {
    rule: 'value',
    says: /whose write had not begun/,
    bad: story().wrote([31.1, 40]).read(30, 1),
    good: story().wrote([31, 40]).read(30, 1),
  },
  'a write that was told that it failed, and did not': {
    rule: 'told',
    says: /write 0:2 of id 1 was told that it failed, and made version 1/,
    bad: story().wrote([0, 10], { outcome: 'failed' }),
    good: story().wrote([0, 10], { outcome: 'unknown' }),
  },
  'a write that was told another version': {
    rule: 'told',
    says: /was told that it made version 2, and made 1/,
    bad: story().wrote([0, 10], { version: 2 }).wrote([0, 10]),
    good: story().wrote([0, 10], { version: 1 }).wrote([0, 10]),
  },
  'a write after another that made an older version': {
    rule: 'told',
    says: /write 0:2 of id 1 made an older version than one that had returned with version 2/,
    bad: story().wrote([10.1, 20]).wrote([0, 10]),
    good: story().wrote([10, 20]).wrote([0, 10]),
  },
  'a write that returned, and is nowhere': {
    rule: 'I2',
    says: /write 0:2 of id 1 returned version 1, and PostgreSQL has no trace of it/,
    bad: story().wrote([0, 10], { commits: false, version: 1 }),
    good: story().wrote([0, 10], { commits: false, outcome: 'unknown' }),
  },
  'an old version in the end': {
    rule: 'I1',
    says: /in the end, when all was quiet, process 1 had an old version of id 1 in l2: 0, and PostgreSQL has 1/,
    bad: story()
      .wrote([0, 1])
      .left(row2, { version: 1 }, { tier: 'l2' }, { ...row2, version: 1 }),
    good: story()
      .wrote([0, 1])
      .left({ version: 1 }, { tier: 'l2', version: 1 }, { ...row2, version: 1 }),
  },
}

describe.each(Object.entries(pairs))('%s', (_, { rule, says, bad, good }) => {
  test('is found, and said in words', async () => {
    const { violations } = await verdictOn(bad.all())
    const found = violations.filter((one) => one.rule === rule && says.test(one.text))
    expect(found, JSON.stringify(violations, null, 2)).toHaveLength(1)
  })

  test('and what is almost the same passes', async () => {
    const { violations, found } = await verdictOn(good.all())
    expect({ violations, found }).toEqual({ violations: [], found: 0 })
  })
})

describe('what is held against nobody', () => {
  test('a write of another row', async () => {
    const other = story().wrote([0, 10], { id: 3 }).strong(20, 0).strong(5_000, 1, { id: 3 })
    expect(await verdictOn(other.all())).toMatchObject({ found: 0 })
  })

  test('a write that may have committed only later, as long as nobody has seen it', async () => {
    const late = story().wrote([0, 10], { outcome: 'unknown' }).read(5_000, 0).strong(6_000, 0)
    expect(await verdictOn(late.all())).toMatchObject({ found: 0 })
  })

  test('a strong read of a write that isn’t fenced, and one that doesn’t see it yet', async () => {
    const plain = story().wrote([0, 100], { outcome: 'unfenced', via: 'sql' })
    expect(await verdictOn(plain.strong(20, 1).strong(30, 0).all())).toMatchObject({ found: 0 })
  })

  test('the tag of a version whose writer left none', async () => {
    const lines = story().wrote([0, 10]).read(20, 1, { writer: null }).all()
    const anonymous = lines.map((line) => {
      return line.kind === 'truth' && line.id === 1 ? { ...line, versions: ['x'] } : line
    })
    const unsaid = anonymous.filter((line) => !('n' in line) || line.n !== 2)
    expect(await verdictOn(unsaid)).toMatchObject({ found: 0 })
  })
})

describe('an entity with foreign writes', () => {
  const late = story().wrote([0, 10], { outcome: 'unfenced' }).read(1_011, 0, unproven)

  test.each([true, [1]])('is held to the bound by Redis too: %j', async (foreignWrites) => {
    const { violations } = await verdictOn(late.all({ foreignWrites }))
    expect(violations).toMatchObject([{ rule: 'I3', id: 1 }])
  })

  test.each([false, [2]])('and no other is: %j', async (foreignWrites) => {
    expect(await verdictOn(late.all({ foreignWrites }))).toMatchObject({ found: 0 })
  })
})

describe('the verdict', () => {
  test('counts what committed and what was answered, and the longest that one missed', async () => {
    const some = story()
      .wrote([0, 10])
      .wrote([20, 30], { commits: false, outcome: 'failed' })
      .died(40, { commits: true })
      .read(100, 0)
      .read(510.5, 0)
      .read(900, 0, unproven)
    expect(await verdictOn(some.all())).toEqual({
      writes: 3,
      reads: 4,
      violations: [],
      found: 0,
      maxStaleMs: 500.5,
      stalestMs: 890,
      boundMs: 1_000,
    })
  })

  test('names lines, processes, times and faults', async () => {
    const fault = ['sigstop', [900, 2_000], { target: 'process 1' }] as const
    const { violations } = await verdictOn(
      story()
        .wrote([0, 10], { process: 4, via: 'psql', outcome: 'unfenced' })
        .fault('clock-step', [-5_000, -5_000])
        .fault(...fault)
        .read(2_010, 0)
        .all(),
    )
    expect(violations).toEqual([
      { rule: 'I3', id: 1, processes: [1, 4], lines: [5, 6, 9], text: expect.any(String) },
    ])
    expect(violations[0]?.text.split('\n').map((line) => line.trimEnd())).toEqual([
      'I3: the bounded read of id 1 by process 1, answered from l1, saw version 0, and version 1 had committed at least 2000.0 ms before it began; the bound is 1000 ms',
      '  times: ms since it began',
      '  lines 5, 6       -2010.0 … -2000.0        write 4:2 through psql, which returned unfenced, version 1',
      '  line 9           0.0 … 1.0                process 1 reads version 0 from l1, proven',
      '  line 8           -1110.0 … -10.0          fault: sigstop of process 1',
    ])
  })

  test('keeps some of very many violations, and counts all', async () => {
    const bad = story().wrote([0, 10])
    for (let at = 0; at < 150; at++) bad.read(2_000 + at, 0)
    const { violations, found } = await verdictOn(bad.all())
    expect([violations.length, found]).toEqual([100, 150])
  })

  test('counts in the bound of the history, not in one of its own', async () => {
    const late = story().wrote([0, 10]).read(300, 0)
    expect(await verdictOn(late.all())).toMatchObject({ found: 0 })
    expect(await verdictOn(late.all({ boundMs: 250 }))).toMatchObject({ found: 1, boundMs: 250 })
  })

  test('does not depend on the order of the lines', async () => {
    const lines = story().wrote([0, 10]).wrote([11, 20]).read(1_200, 0).strong(1_300, 1).all()
    const inOrder = await verdictOn(lines)
    const [first, ...others] = lines.slice(0, -1)
    const turned = await verdictOn([
      first as (typeof lines)[0],
      ...others.reverse(),
      lines.at(-1) as (typeof lines)[0],
    ])
    expect(turned.violations.map(({ rule }) => rule).sort()).toEqual(
      inOrder.violations.map(({ rule }) => rule).sort(),
    )
    expect(turned.found).toBe(2)
  })

  test('a failed read is no answer', async () => {
    const times = { begin: 5_000 * ms, end: 5_001 * ms }
    const failed = { kind: 'failed read', process: 1, id: 1, ...times } as const
    const lines = story().wrote([0, 10]).all()
    lines.splice(3, 0, { ...failed, consistency: 'strong', error: 'READ_TIMEOUT' })
    expect(await verdictOn(lines)).toMatchObject({ reads: 1, found: 0 })
  })
})
