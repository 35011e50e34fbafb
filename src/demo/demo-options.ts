import { accessSync, constants } from 'node:fs'
import { LockstepError, messageOf } from '../model/errors.ts'

/** As they come from the command line. */
export interface DemoArguments {
  readonly seconds?: string
  readonly processes?: string
  readonly writes?: string
  readonly trace?: string
  readonly foreign?: true
  readonly kafka?: true
  readonly chaos?: true
  readonly attack?: true
}

export interface DemoOptions {
  readonly seconds: number
  readonly processes: number
  /** Share of the accesses that are writes. */
  readonly writes: number
  /** Without one the traffic is made up. */
  readonly trace: string | undefined
  /** Somebody writes plain SQL meanwhile, on a table with triggers. */
  readonly foreign: boolean
  /** On the durable plane with Kafka. */
  readonly kafka: boolean
  /** Processes are killed and stopped, connections cut, keys deleted, all the time. */
  readonly chaos: boolean
  /** Somebody asks for ids that don't exist, and a Bloom filter keeps them from the source. */
  readonly attack: boolean
}

export const demoDefaults = { seconds: '20', processes: '3', writes: '0.02' } as const

/** Throws `OPTION_INVALID`, which names the option, the value, and what would do. */
export function parseDemoOptions(given: DemoArguments): DemoOptions {
  const { seconds, processes, writes } = { ...demoDefaults, ...given }
  return {
    seconds: numberIn('seconds', seconds, 1, 86_400, 'a number of seconds, 1 to 86400,'),
    processes: wholeNumberIn('processes', processes, 1, 64, 'a whole number, 1 to 64,'),
    writes: numberIn('writes', writes, 0, 0.5, 'a share of the accesses, 0 to 0.5, like 0.02'),
    trace: given.trace === undefined ? undefined : readable(given.trace),
    foreign: given.foreign ?? false,
    kafka: given.kafka ?? false,
    chaos: given.chaos ?? false,
    attack: given.attack ?? false,
  }
}

function numberIn(name: string, text: string, least: number, most: number, what: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text)
  if (value >= least && value <= most) return value
  throw invalid(name, text, what)
}

function wholeNumberIn(
  name: string,
  text: string,
  least: number,
  most: number,
  what: string,
): number {
  const value = numberIn(name, text, least, most, what)
  if (Number.isInteger(value)) return value
  throw invalid(name, text, what)
}

function readable(file: string): string {
  try {
    accessSync(file, constants.R_OK)
    return file
  } catch (error) {
    throw invalid('trace', file, `a file that can be read (${messageOf(error)})`)
  }
}

function invalid(name: string, text: string, what: string): LockstepError {
  return new LockstepError(
    'OPTION_INVALID',
    `option "--${name}" is ${JSON.stringify(text)}; ${what} would do`,
  )
}
