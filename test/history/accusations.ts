/** What a judge found, in words for whoever has to find out why (docs/reading-a-violation.md). */
import type { ReadLine } from './format.ts'
import type { Fault, KnownWrite, Witness } from './record.ts'

/**
 * An invariant of DESIGN §1, or `everywhere`: of a write that waited for all instances, one missed it;
 * `value`: an answer that was never there to be read; `told`: a write was told what isn't so.
 */
export type Rule = 'I1' | 'I2' | 'I3' | 'I4' | 'I10' | 'everywhere' | 'value' | 'told'

export interface Violation {
  readonly rule: Rule
  readonly id: number
  readonly processes: readonly number[]
  /** Of the file, in rising order. */
  readonly lines: readonly number[]
  readonly text: string
}

/** A line of the report: something that has to do with it. */
export interface Event {
  readonly process?: number
  readonly lines: readonly number[]
  /** `undefined`: it is not known, or says nothing. */
  readonly begin?: number
  readonly end?: number
  readonly what: string
}

export interface Accusation {
  readonly rule: Rule
  readonly id: number
  /** A sentence. */
  readonly what: string
  /** Times are told relative to the beginning of this one. */
  readonly main: Event
  readonly others?: readonly Event[]
}

const mostKept = 100
const mostFaults = 8
const nsPerMs = 1e6

export class Accusations {
  readonly #faults: readonly Fault[]
  /** How long before something a fault may have ended that has to do with it. */
  readonly #echoNs: number
  readonly #kept: Violation[] = []
  found = 0

  constructor(faults: readonly Fault[], boundMs: number) {
    this.#faults = faults
    this.#echoNs = boundMs * nsPerMs
  }

  /** The first of those that were found. */
  get kept(): readonly Violation[] {
    return this.#kept
  }

  add({ rule, id, what, main, others = [] }: Accusation): void {
    this.found++
    if (this.#kept.length === mostKept) return
    const events = [...others, main]
    const processes = new Set(events.flatMap(({ process }) => process ?? []))
    this.#kept.push({
      rule,
      id,
      processes: [...processes].sort(inOrder),
      lines: [...new Set(events.flatMap(({ lines }) => lines))].sort(inOrder),
      text: [`${rule}: ${what}`, ...this.#timetable(main, events)].join('\n'),
    })
  }

  #timetable(main: Event, events: readonly Event[]): string[] {
    const zero = main.begin
    if (zero === undefined) return events.map((event) => row(linesOf(event), '', event.what))
    const times = events.flatMap(({ begin, end }) => [begin ?? zero, end ?? zero])
    const from = Math.min(...times) - this.#echoNs
    const to = Math.max(...times.filter(Number.isFinite))
    const told = [...events]
      .sort((one, other) => (one.begin ?? zero) - (other.begin ?? zero))
      .map((event) => row(linesOf(event), span(event, zero), event.what))
    const faults = this.#faults.filter(({ begin, end }) => begin <= to && end >= from)
    const shown = faults.slice(-mostFaults).map((fault) => {
      const kill = fault.kills ? ' (killed)' : ''
      const lines = linesOf({ lines: [fault.line] })
      return row(lines, span(fault, zero), `fault: ${fault.fault} of ${fault.target}${kill}`)
    })
    const more = faults.length - shown.length
    const rest = more > 0 ? [`  and ${more} faults before these`] : []
    const none = faults.length === 0 ? ['  no fault went on meanwhile, nor shortly before'] : []
    return ['  times: ms since it began', ...told, ...rest, ...shown, ...none]
  }
}

function row(lines: string, times: string, what: string): string {
  return `  ${lines.padEnd(16)} ${times.padEnd(24)} ${what}`
}

function linesOf({ lines }: Pick<Event, 'lines'>): string {
  return `${lines.length > 1 ? 'lines' : 'line'} ${lines.join(', ')}`
}

function span({ begin, end }: Pick<Event, 'begin' | 'end'>, zero: number): string {
  const ms = (at: number): string => ((at - zero) / nsPerMs).toFixed(1)
  if (begin === undefined) return end === undefined ? '' : `before ${ms(end)}`
  if (end === undefined || end === begin) return ms(begin)
  return end === Number.POSITIVE_INFINITY ? `${ms(begin)} … ?` : `${ms(begin)} … ${ms(end)}`
}

function inOrder(one: number, other: number): number {
  return one - other
}

// ---- names of what has happened

export function nameOfRead({ id, process, consistency, ticket, tier }: ReadLine): string {
  const withTicket = ticket > 0 ? ' with a ticket' : ''
  return `the ${consistency} read${withTicket} of id ${id} by process ${process}, answered from ${tier},`
}

export function nameOfWrite({ id, process, n }: KnownWrite): string {
  return `write ${process}:${n} of id ${id}`
}

export function eventOfRead(read: ReadLine, line: number): Event {
  const { process, begin, end, version, tier, proven } = read
  const what = `process ${process} reads version ${version} from ${tier}, ${proven ? 'proven' : 'unproven'}`
  return { process, lines: [line], begin, end, what }
}

export function eventOfWrite(write: KnownWrite): Event {
  const { process, n, line, endLine, begin, end, via, outcome, saidVersion } = write
  const told = saidVersion === undefined ? '' : `, version ${saidVersion}`
  const how = outcome === null ? 'which never returned' : `which returned ${outcome}${told}`
  const lines = endLine > 0 ? [line, endLine] : [line]
  return { process, lines, begin, end, what: `write ${process}:${n} through ${via}, ${how}` }
}

export function eventsOfWrite(write: KnownWrite | undefined): readonly Event[] {
  return write ? [eventOfWrite(write)] : []
}

/** What shows that the version had committed, where the write's own return doesn't. */
export function eventsOfWitness(
  witness: Witness | undefined,
  write: KnownWrite | undefined,
): readonly Event[] {
  if (!witness || witness.line === write?.endLine) return []
  const what = 'this one, or a later one of the row, had been seen or had returned'
  return [{ lines: [witness.line], end: witness.at, what }]
}
