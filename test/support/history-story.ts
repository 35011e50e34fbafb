/** A history told by hand, in milliseconds: who wrote, who read, what went wrong meanwhile. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkHistory, type Verdict } from '../history/check.ts'
import type {
  FaultLine,
  Header,
  LeftLine,
  Line,
  ReadLine,
  WriteLine,
  WroteLine,
} from '../history/format.ts'

const ms = 1e6

export const header: Header = {
  kind: 'history',
  format: 1,
  seed: 1,
  epoch: '0',
  boundMs: 1_000,
  plane: 'outbox',
  ids: 1,
  foreignWrites: false,
}

type Wrote = Partial<Omit<WriteLine, 'kind'> & Omit<WroteLine, 'kind'>> & {
  readonly commits?: boolean
}
type Spans = readonly [begin: number, end: number]

/** What the writes of a story leave in PostgreSQL follows from the order in which they are told. */
export class Story {
  readonly lines: Line[] = []
  readonly #tags = new Map<number, string[]>([[1, []]])
  #numbers = 0
  #left: readonly Line[] | undefined

  /** Of process 0, unless it says otherwise; commits as the next version, unless `commits` is false. */
  wrote(
    [begin, end]: Spans,
    { commits = true, outcome = 'fenced', id = 1, process = 0, ...other }: Wrote = {},
  ): this {
    const n = ++this.#numbers
    const tags = this.#tags.get(id) ?? []
    this.#tags.set(id, tags)
    if (commits) tags.push(`${process}:${n}`)
    const isTold = outcome === 'fenced' || outcome === 'unfenced'
    const { wait, version = isTold ? tags.length : undefined, via = 'write' } = other
    this.lines.push({ kind: 'write', process, n, id, via, begin: begin * ms })
    const told = { ...(version !== undefined && { version }), ...(wait && { wait }) }
    this.lines.push({ kind: 'wrote', process, n, end: end * ms, outcome, ...told })
    return this
  }

  /** It began to write, and was killed. */
  died(begin: number, { commits }: { commits: boolean }): this {
    this.wrote([begin, begin], { commits, outcome: 'unknown' })
    this.lines.pop()
    return this
  }

  /** By process 1, for one millisecond. */
  read(begin: number, version: number, other: Partial<ReadLine> = {}): this {
    const id = other.id ?? 1
    const writer = this.#tags.get(id)?.[version - 1] ?? null
    const times = { begin: begin * ms, end: (begin + 1) * ms }
    const how = { consistency: 'bounded', ticket: 0, tier: 'l1', proven: true } as const
    this.lines.push({ kind: 'read', process: 1, id, ...times, version, writer, ...how, ...other })
    return this
  }

  strong(begin: number, version: number, other: Partial<ReadLine> = {}): this {
    return this.read(begin, version, { consistency: 'strong', tier: 'l2', ...other })
  }

  fault(fault: string, [begin, end]: Spans, other: Partial<FaultLine> = {}): this {
    const times = { begin: begin * ms, end: end * ms }
    this.lines.push({ kind: 'fault', fault, target: 'redis', ...times, ...other })
    return this
  }

  /** Process 1 has it in the end; otherwise it has what PostgreSQL has. */
  left(...answers: readonly Partial<LeftLine>[]): this {
    const all = { kind: 'left', process: 1, id: 1, tier: 'l1', version: 0, proven: true } as const
    this.#left = answers.map((one) => ({ ...all, ...one }))
    return this
  }

  all(other: Partial<Header> = {}): Line[] {
    const truth = [...this.#tags].map(([id, versions]): Line => {
      return { kind: 'truth', id, version: versions.length, versions }
    })
    const left = [...this.#tags].map(([id, { length: version }]): Line => {
      return { kind: 'left', process: 1, id, tier: 'l1', version, proven: true }
    })
    const end: Line = { kind: 'end', at: 1e12 }
    return [{ ...header, ...other }, ...this.lines, ...truth, ...(this.#left ?? left), end]
  }
}

/** One in which nothing is wrong, and enough happens for a verdict; all of it on row 2. */
export function story(): Story {
  return new Story().wrote([0, 1], { id: 2 }).read(10, 1, { id: 2 })
}

export function verdictOn(lines: readonly Line[]): Promise<Verdict> {
  return withFile(lines.map((line) => `${JSON.stringify(line)}\n`).join(''), checkHistory)
}

/** For as long as `run` takes. */
export async function withFile<T>(text: string, run: (file: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-history-'))
  try {
    const file = join(folder, 'history.jsonl')
    writeFileSync(file, text)
    return await run(file)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
