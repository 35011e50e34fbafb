/** What the demo and its processes tell each other. */
import type { LogLevel } from '../config.ts'
import type { AttackCounts } from './attack.ts'
import type { Hand } from './customers.ts'

export interface WorkerSettings {
  readonly databaseUrl: string
  readonly redisUrl: string
  readonly kafkaBrokers: string | undefined
  readonly namespace: string
  readonly logLevel: LogLevel | undefined
  readonly rows: number
  /** 0 … processes - 1. */
  readonly process: number
  /** In the place of one that was killed, while the others are at work. */
  readonly isSuccessor: boolean
  readonly processes: number
  readonly writeShare: number
  /** Somebody writes plain SQL, and is held to the bound too. */
  readonly foreign: boolean
  /** Somebody asks for ids that don't exist. */
  readonly attack: boolean
  readonly trace: string | undefined
  /** The same in all processes: they agree on what is popular. */
  readonly seed: number
}

export type ToWorker =
  | { readonly kind: 'open'; readonly settings: WorkerSettings }
  /** The run begins at `epochNs` of the machine's monotonic clock. */
  | { readonly kind: 'go'; readonly epochNs: bigint; readonly seconds: number }
  | { readonly kind: 'hand'; readonly hand: Hand }
  | NewRow
  | { readonly kind: 'stop' }

/** One that another process has inserted, to be looked for here. */
interface NewRow {
  readonly kind: 'new-row'
  readonly id: number
}

/** Of one process, since it began. */
export interface Progress {
  readonly calls: number
  readonly l1Hits: number
  readonly l2Hits: number
  readonly misses: number
  readonly loads: number
  readonly sourceQueries: number
  readonly absent: number
  readonly failedReads: number
  readonly failedWrites: number
  readonly firstFailure: string | undefined
  /** Of what is asked for in vain only this tells, and `loads` and `sourceQueries`. */
  readonly attack: AttackCounts
}

export type FromWorker =
  | { readonly kind: 'ready' }
  | {
      readonly kind: 'history'
      readonly chunk: Uint8Array
      /** All that ended before is in this chunk or an earlier one. */
      readonly untilNs: number
      readonly progress: Progress
    }
  /** Something has happened that a person wants to see. */
  | { readonly kind: 'news'; readonly news: string }
  | { readonly kind: 'hand'; readonly hand: Hand }
  | NewRow
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly message: string }
