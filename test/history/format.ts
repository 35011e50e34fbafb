/**
 * The file of a history: what every process was told, when, and what was true in the end. One JSON
 * object a line; the header comes first, `end` last, the others in any order, so that the files of
 * several processes need only be joined.
 *
 * Times are nanoseconds of the machine's monotonic clock since the header's `epoch`: the same clock
 * for all processes. `begin` is noted before a call and `end` after it. A read's `begin` must not be
 * later than the clock reading that the library takes for that turn of the event loop (DESIGN §3):
 * whoever reads several times in one turn notes the time before the first.
 *
 * A row begins as version 0, and each write adds 1 under the row's lock: versions are dense and in
 * the order of the commits.
 */
import { createReadStream } from 'node:fs'

const format = 1

export interface Header {
  readonly kind: 'history'
  readonly format: typeof format
  readonly seed: number
  /** Nanoseconds of the monotonic clock, as text: too many for a number. */
  readonly epoch: string
  readonly boundMs: number
  readonly plane: 'outbox' | 'kafka'
  readonly ids: number
  /** Which ids are of an entity with `foreignWrites: true`: all, none, or these. */
  readonly foreignWrites: boolean | readonly number[]
}

/** Before the call. */
export interface WriteLine {
  readonly kind: 'write'
  readonly process: number
  /** Of this process; `process:n` is the tag that the write leaves in the row. */
  readonly n: number
  readonly id: number
  readonly via: 'write' | 'sql' | 'psql'
  readonly begin: number
}

/** After it; missing when the process was killed meanwhile. */
export interface WroteLine {
  readonly kind: 'wrote'
  readonly process: number
  readonly n: number
  readonly end: number
  /** `failed`: the caller was told that it did not commit. `unknown`: perhaps it did. */
  readonly outcome: 'fenced' | 'unfenced' | 'failed' | 'unknown'
  /** What it made, where the outcome says that it committed. */
  readonly version?: number
  /** It returned when no instance answers from L1 any more with what it replaced. */
  readonly wait?: 'everywhere'
}

export type Tier = 'l1' | 'l2' | 'source'

export interface ReadLine {
  readonly kind: 'read'
  readonly process: number
  readonly id: number
  readonly begin: number
  readonly end: number
  readonly version: number
  /** The tag in the row that was answered; `null` in one that nobody has written yet. */
  readonly writer: string | null
  readonly consistency: 'bounded' | 'strong'
  /** The version that its ticket stands for; 0: it carried none. */
  readonly ticket: number
  readonly tier: Tier
  readonly proven: boolean
}

interface FailedReadLine {
  readonly kind: 'failed read'
  readonly process: number
  readonly id: number
  readonly begin: number
  readonly end: number
  readonly consistency: 'bounded' | 'strong'
  readonly error: string
}

/** Once it is over; `end` is `begin` where it took no time. */
export interface FaultLine {
  readonly kind: 'fault'
  readonly fault: string
  readonly target: string
  readonly begin: number
  readonly end: number
  /** How many processes or servers it killed with SIGKILL. */
  readonly kills?: number
}

/** What PostgreSQL has in the end. */
export interface TruthLine {
  readonly kind: 'truth'
  readonly id: number
  readonly version: number
  /** The tag of the write that made version 1, 2, …; `x` where the writer left none. */
  readonly versions: readonly string[]
}

/** What a process answers in the end, when all is quiet. */
export interface LeftLine {
  readonly kind: 'left'
  readonly process: number
  readonly id: number
  readonly tier: Tier
  readonly version: number
  readonly proven: boolean
}

interface EndLine {
  readonly kind: 'end'
  readonly at: number
}

export type Line =
  | Header
  | WriteLine
  | WroteLine
  | ReadLine
  | FailedReadLine
  | FaultLine
  | TruthLine
  | LeftLine
  | EndLine

/** The file is no history, or not a whole one: nothing can be said of it. */
export class HistoryError extends Error {
  override readonly name = 'HistoryError'
}

/** Calls `hear` with each line and its number, the header included; rejects with a `HistoryError`. */
export async function readHistory(
  file: string,
  hear: (line: Line, number: number) => void,
): Promise<Header> {
  let header: Header | undefined
  let number = 0
  let isOver = false
  const take = (text: string): void => {
    number++
    const line = parseAt(text, number, file)
    if (isOver) throw new HistoryError(`${file}:${number} comes after the line "end"`)
    if (!header) header = headerOf(line, file)
    else if (line.kind === 'history') throw new HistoryError(`${file}:${number} is a second header`)
    isOver = line.kind === 'end'
    hear(line, number)
  }
  let rest = ''
  for await (const chunk of createReadStream(file, { encoding: 'utf8', highWaterMark: 2 ** 20 })) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() as string
    for (const text of lines) take(text)
  }
  if (rest !== '') throw new HistoryError(`${file}:${number + 1} is torn: it has no end of line`)
  if (!header) throw new HistoryError(`${file} is empty`)
  if (!isOver) throw new HistoryError(`${file} is cut off: its last line is not "end"`)
  return header
}

function headerOf(line: Line, file: string): Header {
  if (line.kind === 'history') return line
  throw new HistoryError(`${file} is no history: its first line is no header`)
}

function parseAt(text: string, number: number, file: string): Line {
  try {
    return parseLine(text)
  } catch (error) {
    if (number === 1 && !(error instanceof NewerError)) {
      throw new HistoryError(`${file} is no history: ${(error as Error).message}`)
    }
    throw new HistoryError(`${file}:${number} ${(error as Error).message}`)
  }
}

class NewerError extends Error {}

type Check = (value: unknown) => boolean

const isText: Check = (value) => typeof value === 'string' && value !== ''
const isTime: Check = (value) => typeof value === 'number' && Number.isFinite(value)
const isCount: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0
const isBoolean: Check = (value) => typeof value === 'boolean'
const isTags: Check = (value) => Array.isArray(value) && value.every(isText)
const isIds: Check = (value) => Array.isArray(value) && value.every(isCount)
const oneOf = (...words: readonly string[]): Check => {
  return (value) => words.includes(value as string)
}
const or = (...checks: readonly Check[]): Check => {
  return (value) => checks.some((check) => check(value))
}
const isAbsent: Check = (value) => value === undefined
const isNull: Check = (value) => value === null
const isConsistency = oneOf('bounded', 'strong')
const isTier = oneOf('l1', 'l2', 'source')

const times = { begin: isTime, end: isTime }
const fields: Readonly<Record<Line['kind'], Readonly<Record<string, Check>>>> = {
  history: {
    seed: isCount,
    epoch: (value) => typeof value === 'string' && /^\d+$/.test(value),
    boundMs: (value) => isTime(value) && (value as number) > 0,
    plane: oneOf('outbox', 'kafka'),
    ids: isCount,
    foreignWrites: or(isBoolean, isIds),
  },
  write: {
    process: isCount,
    n: isCount,
    id: isCount,
    via: oneOf('write', 'sql', 'psql'),
    begin: isTime,
  },
  wrote: {
    process: isCount,
    n: isCount,
    end: isTime,
    outcome: oneOf('fenced', 'unfenced', 'failed', 'unknown'),
    version: or(isCount, isAbsent),
    wait: or(oneOf('everywhere'), isAbsent),
  },
  read: {
    process: isCount,
    id: isCount,
    ...times,
    version: isCount,
    writer: or(isText, isNull),
    consistency: isConsistency,
    ticket: isCount,
    tier: isTier,
    proven: isBoolean,
  },
  'failed read': {
    process: isCount,
    id: isCount,
    ...times,
    consistency: isConsistency,
    error: isText,
  },
  fault: { fault: isText, target: isText, ...times, kills: or(isCount, isAbsent) },
  truth: { id: isCount, version: isCount, versions: isTags },
  left: { process: isCount, id: isCount, tier: isTier, version: isCount, proven: isBoolean },
  end: { at: isTime },
}
const checksOf = new Map(Object.entries(fields).map(([kind, checks]) => [kind, pairs(checks)]))

function pairs(checks: Readonly<Record<string, Check>>): readonly (readonly [string, Check])[] {
  return Object.entries(checks)
}

/** Throws an `Error` whose message goes on where a line's number stands before. */
function parseLine(text: string): Line {
  const line = parseObject(text)
  const checks = checksOf.get(line.kind as string)
  if (!checks) throw new Error(`has the kind ${JSON.stringify(line.kind)}, which is none`)
  if (line.kind === 'history') checkFormat(line.format)
  for (const [name, check] of checks) {
    if (check(line[name])) continue
    throw new Error(`is a "${line.kind}" whose "${name}" is ${JSON.stringify(line[name])}`)
  }
  if ((line.end as number) < (line.begin as number)) {
    throw new Error(`is a "${line.kind}" that ends before it begins`)
  }
  const isAcknowledged = line.outcome === 'fenced' || line.outcome === 'unfenced'
  if (isAcknowledged && !((line.version as number) > 0)) {
    throw new Error('is a write that committed, and says no version')
  }
  return line as unknown as Line
}

function parseObject(text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new Error(`is torn, or no JSON: ${JSON.stringify(text.slice(0, 60))}`)
  }
  if (typeof value === 'object' && value !== null) return value as Record<string, unknown>
  throw new Error(`is no object: ${JSON.stringify(text.slice(0, 60))}`)
}

function checkFormat(given: unknown): void {
  if (given === format) return
  const which = typeof given === 'number' && given > format ? 'newer than' : 'not'
  throw new NewerError(
    `is of format ${JSON.stringify(given)}, ${which} the one known here, ${format}`,
  )
}
