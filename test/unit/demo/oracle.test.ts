import { describe, expect, test } from 'vitest'
import type { Read, Write } from '../../../src/demo/history.ts'
import { Oracle, type Verdict } from '../../../src/demo/oracle.ts'

const boundMs = 1_000
const ms = 1e6

type Done = { by: number; operation: Read | Write }

/** Process `by` wrote the version, between the two times in milliseconds. */
function wrote(
  by: number,
  version: number,
  start: number,
  end: number,
  other: Partial<Write> = {},
): Done {
  const times = { startNs: start * ms, endNs: end * ms }
  return { by, operation: { kind: 'write', id: 1, version, ...times, fenced: true, ...other } }
}

/** Process `by` asked at that time, and saw the version. */
function saw(by: number, version: number, start: number, other: Partial<Read> = {}): Done {
  const times = { startNs: start * ms, endNs: (start + 1) * ms }
  const kind = { kind: 'read', consistency: 'bounded', ticketVersion: 0 } as const
  const told = { tier: 'l1', isProven: true } as const
  return { by, operation: { ...kind, ...told, id: 1, version, ...times, ...other } }
}

const strong = { consistency: 'strong' } as const

function judge(...history: readonly Done[]): Verdict {
  return verdictOf(new Oracle(boundMs), history)
}

/** The rows are those of an entity with foreign writes. */
function judgeForeign(...history: readonly Done[]): Verdict {
  return verdictOf(new Oracle(boundMs, true), history)
}

function verdictOf(oracle: Oracle, history: readonly Done[]): Verdict {
  for (const { by, operation } of history) {
    if (operation.kind === 'write') oracle.addWrite(operation, by)
  }
  for (const { by, operation } of history) {
    if (operation.kind === 'read') oracle.judge(operation, by)
  }
  return oracle.verdict
}

const nothing = { crossProcessChecks: 0, staleStrong: 0, staleBeyondBound: 0, maxStaleMs: 0 }

describe('a history without a fault', () => {
  test('an answer is not judged as long as nobody has written the row', () => {
    expect(judge(saw(0, 7, 10), wrote(1, 8, 20, 30))).toMatchObject(nothing)
  })

  test('a write of another row is nothing to a read', () => {
    expect(judge(wrote(1, 9, 0, 1, { id: 2 }), saw(0, 0, 5_000, strong))).toMatchObject(nothing)
  })

  test('a read that overlaps a write may see either version', () => {
    const history = [wrote(1, 2, 10, 30), saw(0, 1, 20, strong), saw(0, 2, 20, strong)]
    expect(judge(...history)).toMatchObject(nothing)
  })

  test('a read that begins when a write returns is not after it', () => {
    expect(judge(wrote(1, 2, 10, 30), saw(0, 1, 30, strong))).toMatchObject(nothing)
  })

  test('the newest version that had returned, or a newer one, is right', () => {
    const history = [wrote(1, 2, 0, 10), saw(0, 2, 2_000), saw(0, 3, 2_000, strong)]
    expect(judge(...history)).toMatchObject({ ...nothing, crossProcessChecks: 2 })
  })

  test('a bounded read may miss what returned within the bound, and that is measured', () => {
    const verdict = judge(wrote(1, 2, 0, 10), wrote(1, 3, 20, 30), saw(0, 1, 110))
    expect(verdict).toMatchObject({ staleBeyondBound: 0, maxStaleMs: 100, examples: [] })
  })

  test('a strong read may miss a write that was not fenced', () => {
    const unfenced = wrote(1, 3, 20, 30, { fenced: false })
    expect(judge(wrote(1, 2, 0, 10), unfenced, saw(0, 2, 5_000, strong)).staleStrong).toBe(0)
  })
})

describe('a history with a fault', () => {
  test('a strong read that saw less than a fenced write that had returned', () => {
    const verdict = judge(wrote(1, 2, 0, 10), saw(0, 1, 10.001, strong))
    expect(verdict).toMatchObject({ ...nothing, staleStrong: 1, crossProcessChecks: 1 })
    expect(verdict.examples).toEqual(['a strong read of 1 in process 0 saw version 1 instead of 2'])
  })

  test('a strong read that saw an unfenced write less than the fenced one before it', () => {
    const unfenced = wrote(1, 3, 20, 30, { fenced: false })
    expect(judge(wrote(1, 2, 0, 10), unfenced, saw(0, 1, 40, strong)).staleStrong).toBe(1)
  })

  test('a bounded read beyond the bound, by the oldest write that it missed', () => {
    const verdict = judge(wrote(1, 2, 0, 10), wrote(2, 3, 1_500, 1_510), saw(0, 1, 1_511))
    expect(verdict).toMatchObject({ staleStrong: 0, staleBeyondBound: 1, maxStaleMs: 1_501 })
    expect(verdict.examples).toEqual([
      'a read of 1 in process 0 saw version 1, 1501 ms after process 1 had written 2',
    ])
  })

  test('a bounded read beyond the bound, of an unfenced write', () => {
    const unfenced = wrote(1, 2, 0, 10, { fenced: false })
    expect(judge(unfenced, saw(0, 1, 1_011)).staleBeyondBound).toBe(1)
  })

  test('a bounded read that saw a later write and then an older version', () => {
    const history = [wrote(0, 2, 0, 10), wrote(0, 3, 20, 30), saw(0, 3, 1_100), saw(0, 2, 1_100)]
    expect(judge(...history)).toMatchObject({ staleBeyondBound: 1, maxStaleMs: 1_070 })
  })

  test('a read that missed the write of its ticket, though it is not known to have returned', () => {
    const verdict = judge(saw(0, 1, 100, { ticketVersion: 2 }))
    expect(verdict).toMatchObject({ ...nothing, staleStrong: 1 })
    expect(verdict.examples[0]).toContain('with a ticket')
  })

  test('a read with a ticket is bounded beside', () => {
    const verdict = judge(
      wrote(1, 2, 0, 10),
      wrote(1, 3, 20, 30),
      saw(0, 2, 2_000, { ticketVersion: 2 }),
    )
    expect(verdict).toMatchObject({ staleStrong: 0, staleBeyondBound: 1 })
  })
})

describe('which write counts', () => {
  test('writes come in any order', () => {
    const history = [wrote(2, 4, 50, 60), wrote(1, 2, 0, 10), wrote(0, 3, 20, 30)]
    for (const order of [history, [...history].reverse()]) {
      const verdict = judge(...order, saw(1, 3, 40), saw(1, 1, 15, strong), saw(1, 3, 70, strong))
      expect(verdict).toMatchObject({ staleStrong: 2, staleBeyondBound: 0, maxStaleMs: 0 })
    }
  })

  test('a write that returned late counts by its version', () => {
    const history = [wrote(1, 3, 0, 10), wrote(1, 2, 0, 20), saw(0, 2, 30, strong)]
    expect(judge(...history)).toMatchObject({ staleStrong: 1 })
    expect(judge(wrote(1, 3, 0, 10), wrote(1, 2, 0, 20), saw(0, 3, 30, strong)).staleStrong).toBe(0)
  })

  test('a check is cross-process when the newest write was made elsewhere', () => {
    const writes = [wrote(0, 2, 0, 10), wrote(1, 3, 20, 30)]
    const count = (...reads: Done[]): number => judge(...writes, ...reads).crossProcessChecks
    expect(count(saw(0, 2, 15))).toBe(0)
    expect(count(saw(1, 2, 15))).toBe(1)
    expect(count(saw(0, 3, 40))).toBe(1)
    expect(count(saw(1, 3, 40))).toBe(0)
  })

  test('only the first stale answers are told in words', () => {
    const reads = Array.from({ length: 50 }, () => saw(0, 1, 20, strong))
    const verdict = judge(wrote(1, 2, 0, 10), ...reads)
    expect(verdict.staleStrong).toBe(50)
    expect(verdict.examples).toHaveLength(5)
  })
})

describe('what Redis was not told of in time', () => {
  const foreigner = 9
  const written = wrote(foreigner, 2, 0, 1, { fenced: false })
  const late = 5_000
  const unproven = { tier: 'l2', isProven: false } as const
  const untold = { tier: undefined, isProven: false } as const

  test('binds bounded reads that say that they are proven, of any tier', () => {
    for (const tier of ['l1', 'l2', 'source'] as const) {
      expect(judge(written, saw(0, 1, late, { tier }))).toMatchObject({ staleBeyondBound: 1 })
      expect(judge(written, saw(0, 1, 500, { tier }))).toMatchObject({ staleBeyondBound: 0 })
    }
  })

  test('binds no others', () => {
    for (const other of [unproven, untold, strong]) {
      const verdict = judge(written, saw(0, 1, late, other))
      expect(verdict).toMatchObject({ staleStrong: 0, staleBeyondBound: 0 })
    }
  })

  test('binds all bounded reads of an entity with foreign writes', () => {
    for (const other of [unproven, untold, {}]) {
      const verdict = judgeForeign(written, saw(0, 1, late, other))
      expect(verdict).toMatchObject({ staleStrong: 0, staleBeyondBound: 1 })
      expect(judgeForeign(written, saw(0, 1, 900, other))).toMatchObject({ staleBeyondBound: 0 })
    }
  })

  test('binds no strong read, also of such an entity', () => {
    expect(judgeForeign(written, saw(0, 1, late, strong))).toMatchObject({
      staleStrong: 0,
      staleBeyondBound: 0,
    })
  })

  test('hides no write of ours that was missed as well', () => {
    const history = [written, wrote(1, 3, 2, 3), saw(0, 1, late, unproven)]
    expect(judge(...history)).toMatchObject({ staleBeyondBound: 1 })
    const overlapping = [written, wrote(1, 3, late - 1, late + 1), saw(0, 1, late, unproven)]
    expect(judge(...overlapping)).toMatchObject({ staleBeyondBound: 0 })
  })
})
