/**
 * Judges a history by its file alone. It knows nothing of the cache, and accuses only of what is
 * certain: where times overlap, or nobody saw a commit, the reader is believed.
 *
 * I3: a bounded read from L1, from the source, or one that says that it is proven misses no write
 * that had committed more than the bound before it began. The same holds for all strong ones.
 * I4: a strong read misses no write that had returned fenced before it began, nor one that came to
 * return fenced and that a strong read saw which was over before. When Redis forgets, the second
 * rests for the writes that this touches; when it goes back to an older state, the first does too.
 * I10: a read with a ticket sees at least the ticket's write, always.
 * I1: in the end every place has what PostgreSQL has; and a bounded answer of Redis without a proof
 * misses no write that returned fenced more than the bound before, while Redis keeps what it had.
 * I2: what was acknowledged is there.
 * And no L1 misses a write that returned, before the read began, after it had waited for all instances.
 */
import { Accusations, type Violation } from './accusations.ts'
import { readHistory } from './format.ts'
import { ReadJudge } from './judge-reads.ts'
import { judgeEnd, judgeWrites } from './judge-writes.ts'
import { record } from './record.ts'

export interface Verdict {
  /** Those that committed. */
  readonly writes: number
  /** Those that were answered. */
  readonly reads: number
  /** Some of them; `found` is how many there are. */
  readonly violations: readonly Violation[]
  readonly found: number
  /** Of answers of L1 and of proven ones. */
  readonly maxStaleMs: number
  /** Of all bounded ones. */
  readonly stalestMs: number
  readonly boundMs: number
}

/** Rejects with a `HistoryError` when the file is no whole history, or says too little. */
export async function checkHistory(file: string): Promise<Verdict> {
  const recorded = await record(file)
  const { boundMs } = recorded.header
  const accusations = new Accusations(recorded.faults, boundMs)
  judgeWrites(recorded, accusations)
  const reads = new ReadJudge(recorded, accusations)
  // Read again instead of kept: there are a hundred reads to a write.
  await readHistory(file, (line, number) => {
    if (line.kind === 'read') reads.judge(line, number)
  })
  reads.judgeTogether()
  judgeEnd(recorded, accusations)
  let writes = 0
  for (const { version } of recorded.rows.values()) writes += version
  return {
    writes,
    reads: recorded.reads,
    violations: accusations.kept,
    found: accusations.found,
    maxStaleMs: reads.maxStaleMs,
    stalestMs: reads.stalestMs,
    boundMs,
  }
}
