/**
 * What a history knows for certain of its writes. When one committed is seen by nobody; but a version
 * had committed before its write returned, before a read of it ended, and before any later version
 * of the row had. What has no such witness has no time, and no read is held to it.
 */
import type {
  FaultLine,
  Header,
  LeftLine,
  Line,
  ReadLine,
  TruthLine,
  WriteLine,
  WroteLine,
} from './format.ts'
import { HistoryError, readHistory } from './format.ts'

/** `null`: killed before it could say. */
type Outcome = WroteLine['outcome'] | null

export interface KnownWrite extends Omit<WriteLine, 'kind'> {
  readonly line: number
  /** `Infinity` when it never returned. */
  end: number
  endLine: number
  outcome: Outcome
  /** What the call said, where it did. */
  saidVersion: number | undefined
  isEverywhere: boolean
}

/** It shows that a version had committed before `at`. */
export interface Witness {
  readonly at: number
  readonly line: number
}

/** A row: index `v` of each list is its version `v`. */
export interface Row {
  readonly version: number
  /** `undefined`: version 0, and those whose writer left no tag. */
  readonly writes: readonly (KnownWrite | undefined)[]
  readonly tags: readonly string[]
  /** The earliest of this and all later versions; `undefined`: nobody is known to have seen it. */
  readonly witnesses: readonly (Witness | undefined)[]
  /** When the first call that returned fenced, of this and all later versions, did so. */
  readonly fencedEnds: readonly number[]
  /** The same, of those that waited for all instances. */
  readonly everywhereEnds: readonly number[]
}

export interface Fault extends Omit<FaultLine, 'kind'> {
  readonly line: number
}

interface Left extends Omit<LeftLine, 'kind'> {
  readonly line: number
}

export interface Recorded {
  readonly header: Header
  readonly writes: readonly KnownWrite[]
  readonly rows: ReadonlyMap<number, Row>
  readonly faults: readonly Fault[]
  readonly left: readonly Left[]
  readonly reads: number
  readonly l1Reads: number
}

/** Rejects with a `HistoryError` when the file contradicts itself, or says too little to be judged. */
export async function record(file: string): Promise<Recorded> {
  const recorder = new Recorder(file)
  const header = await readHistory(file, recorder.hear)
  return recorder.recorded(header)
}

class Recorder {
  readonly #file: string
  readonly #writes = new Map<string, KnownWrite>()
  readonly #returned: { line: WroteLine; number: number }[] = []
  readonly #truths = new Map<number, TruthLine>()
  /** By row, the first read of each version to end. */
  readonly #seen = new Map<number, (Witness | undefined)[]>()
  readonly #faults: Fault[] = []
  readonly #left: Left[] = []
  #reads = 0
  #l1Reads = 0

  constructor(file: string) {
    this.#file = file
  }

  readonly hear = (line: Line, number: number): void => {
    switch (line.kind) {
      case 'write':
        this.#write(line, number)
        break
      case 'wrote':
        this.#returned.push({ line, number })
        break
      case 'read':
        this.#read(line, number)
        break
      case 'fault':
        this.#faults.push({ ...line, line: number })
        break
      case 'truth':
        this.#truth(line, number)
        break
      case 'left':
        this.#left.push({ ...line, line: number })
        break
      case 'history':
      case 'failed read':
      case 'end':
        break
      default:
        line satisfies never
    }
  }

  recorded(header: Header): Recorded {
    for (const { line, number } of this.#returned) this.#wrote(line, number)
    const rows = new Map([...this.#truths].map(([id, truth]) => [id, this.#row(truth)]))
    const writes = [...this.#writes.values()]
    const recorded = {
      header,
      writes,
      rows,
      faults: this.#faults,
      left: this.#left,
      reads: this.#reads,
      l1Reads: this.#l1Reads,
    }
    this.#mustSaySomething(recorded)
    return recorded
  }

  #write(line: WriteLine, number: number): void {
    const tag = `${line.process}:${line.n}`
    if (this.#writes.has(tag))
      throw this.#error(`line ${number} begins the write ${tag} a second time`)
    const open = {
      end: Number.POSITIVE_INFINITY,
      endLine: 0,
      outcome: null,
      saidVersion: undefined,
      isEverywhere: false,
    }
    this.#writes.set(tag, { ...line, line: number, ...open })
  }

  #wrote({ process, n, end, outcome, version, wait }: WroteLine, number: number): void {
    const tag = `${process}:${n}`
    const write = this.#writes.get(tag)
    if (!write) throw this.#error(`line ${number} ends the write ${tag}, which never began`)
    if (write.endLine > 0) throw this.#error(`line ${number} ends the write ${tag} a second time`)
    if (end < write.begin)
      throw this.#error(`line ${number}: the write ${tag} ends before it begins`)
    const isEverywhere = wait === 'everywhere'
    Object.assign(write, { end, endLine: number, outcome, saidVersion: version, isEverywhere })
  }

  #read({ id, version, end, tier }: ReadLine, number: number): void {
    this.#reads++
    if (tier === 'l1') this.#l1Reads++
    const seen = this.#seen.get(id) ?? []
    if (seen.length === 0) this.#seen.set(id, seen)
    if (end < (seen[version]?.at ?? Number.POSITIVE_INFINITY)) {
      seen[version] = { at: end, line: number }
    }
  }

  #truth(line: TruthLine, number: number): void {
    const { id, version, versions } = line
    if (this.#truths.has(id))
      throw this.#error(`line ${number} tells the truth of id ${id} a second time`)
    if (versions.length !== version) {
      throw this.#error(
        `line ${number}: id ${id} has version ${version}, and a log of ${versions.length}`,
      )
    }
    this.#truths.set(id, line)
  }

  #row({ id, version, versions }: TruthLine): Row {
    const writes = [undefined, ...versions.map((tag) => this.#writeOf(tag, id))]
    const witnesses: (Witness | undefined)[] = new Array(version + 1).fill(undefined)
    const seen = this.#seen.get(id) ?? []
    for (let at = version; at > 0; at--) {
      witnesses[at] = earliest(returned(writes[at]), seen[at], witnesses[at + 1])
    }
    const fencedEnds = firstEnds(writes, ({ outcome }) => outcome === 'fenced')
    const everywhereEnds = firstEnds(writes, (write) => isAcknowledged(write) && write.isEverywhere)
    return { version, tags: ['', ...versions], writes, witnesses, fencedEnds, everywhereEnds }
  }

  #writeOf(tag: string, id: number): KnownWrite | undefined {
    if (tag === 'x') return undefined
    const write = this.#writes.get(tag)
    if (!write) throw this.#error(`id ${id} was written by ${tag}, of which no line tells`)
    if (write.id !== id)
      throw this.#error(`id ${id} was written by ${tag}, which is of id ${write.id}`)
    return write
  }

  /** A verdict over nothing would pass whatever the cache does. */
  #mustSaySomething({ writes, rows, left, l1Reads }: Recorded): void {
    if (rows.size === 0) throw this.#error('it does not say what is true in the end')
    if (!writes.some(({ outcome }) => outcome === 'fenced')) {
      throw this.#error('it says nothing: no write of it returned fenced')
    }
    if (l1Reads === 0) throw this.#error('it says nothing: no read of it was answered from L1')
    const ids = new Set([...writes.map(({ id }) => id), ...this.#seen.keys()])
    for (const { id } of left) ids.add(id)
    for (const id of ids) {
      if (!rows.has(id)) throw this.#error(`it does not say what is true in the end of id ${id}`)
    }
    const answered = new Set(left.map(({ id }) => id))
    for (const id of rows.keys()) {
      if (!answered.has(id)) throw this.#error(`nobody was asked for id ${id} in the end`)
    }
  }

  #error(why: string): HistoryError {
    return new HistoryError(`${this.#file} can't be judged: ${why}`)
  }
}

/** The call said that it committed: otherwise it may do so later, or never. */
export function isAcknowledged({ outcome }: KnownWrite): boolean {
  return outcome === 'fenced' || outcome === 'unfenced'
}

function returned(write: KnownWrite | undefined): Witness | undefined {
  if (!write || !isAcknowledged(write)) return undefined
  return { at: write.end, line: write.endLine }
}

/** By version: when the first call returned of those, of this and all later versions. */
function firstEnds(
  writes: readonly (KnownWrite | undefined)[],
  isOne: (write: KnownWrite) => boolean,
): readonly number[] {
  const ends: number[] = new Array(writes.length).fill(Number.POSITIVE_INFINITY)
  for (let at = writes.length - 1; at > 0; at--) {
    const write = writes[at]
    const own = write && isOne(write) ? write.end : Number.POSITIVE_INFINITY
    ends[at] = Math.min(own, ends[at + 1] ?? Number.POSITIVE_INFINITY)
  }
  return ends
}

function earliest(...witnesses: readonly (Witness | undefined)[]): Witness | undefined {
  let first: Witness | undefined
  for (const one of witnesses) {
    if (one && (!first || one.at < first.at)) first = one
  }
  return first
}
