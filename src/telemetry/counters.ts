/** What happened, in plain numbers: a hit counts without a call, and a scrape reads them. */
import { LockstepError } from '../model/errors.ts'
import type { FillAnswer } from '../model/l2-port.ts'

/** How often each of a few words came up. */
export type Tally<Word extends string = string> = Map<Word, number>

/** `expired`: past its ttl, within its grace; `early`: before that. */
export type RefreshReason = 'expired' | 'early'

/** What one entity's reads came to. */
export interface ReadCounters {
  l1Hits: number
  l1StaleHits: number
  l1Absent: number
  l2Hits: number
  l2StaleHits: number
  l2Absent: number
  sourceReads: number
  sourceAbsent: number
  readonly readFailures: Tally
  /** Calls of the loader, and the ids they were for. */
  loads: number
  loadedIds: number
  readonly loadFailures: Tally
  readonly fills: Record<FillAnswer, number>
  corruptValues: number
  tooBigValues: number
  /** Reads that the Bloom filter answered, and ids without a row that its copy here took for existing. */
  refused: number
  falsePositives: number
  /** Answered, and kept nowhere: too many new keys in one minute. */
  uncachedKeys: number
  /** Values that were loaded anew behind who had them. */
  readonly refreshes: Record<RefreshReason, number>
}

export function newReadCounters(): ReadCounters {
  return {
    l1Hits: 0,
    l1StaleHits: 0,
    l1Absent: 0,
    l2Hits: 0,
    l2StaleHits: 0,
    l2Absent: 0,
    sourceReads: 0,
    sourceAbsent: 0,
    readFailures: new Map(),
    loads: 0,
    loadedIds: 0,
    loadFailures: new Map(),
    fills: { filled: 0, 'nonce-changed': 0, tombstone: 0, 'not-covered': 0, unavailable: 0 },
    corruptValues: 0,
    tooBigValues: 0,
    refused: 0,
    falsePositives: 0,
    uncachedKeys: 0,
    refreshes: { expired: 0, early: 0 },
  }
}

/** What the writes came to. */
export interface WriteCounters {
  fenced: number
  unfenced: number
  readonly failures: Tally
  /** Tries of the two deletes, by what Redis answered. */
  readonly firstDelete: { dropped: number; unavailable: number }
  readonly secondDelete: { dropped: number; unavailable: number }
}

export function newWriteCounters(): WriteCounters {
  return {
    fenced: 0,
    unfenced: 0,
    failures: new Map(),
    firstDelete: { dropped: 0, unavailable: 0 },
    secondDelete: { dropped: 0, unavailable: 0 },
  }
}

/** What a process did as the relay. */
export interface RelayCounters {
  /** Rows that Redis was told of again because it may have forgotten them. */
  replayedRows: number
  /** Rows of the delayed delete, and the values that it found and dropped. */
  repeatedRows: number
  repeatedValues: number
}

/** Lists of hot keys. */
export interface HotKeyCounters {
  sent: number
  /** Redis could not be told. */
  unsent: number
  /** Of other instances. */
  heard: number
}

/** What was heard of all instances, and what came of it. */
export interface FleetCounters {
  /** By outcome. */
  readonly answers: Tally
  /** By hop. */
  readonly holds: Tally
}

/** How often states changed, by what the labels of their metrics are, with a space in between. */
export interface ChangeCounters {
  /** Hop, state, reason. */
  readonly breakers: Tally
  /** Flag, entity, state. */
  readonly flags: Tally
  readonly relay: Tally<'begun' | 'ended'>
}

export function count<Word extends string>(tally: Tally<Word>, word: Word, times = 1): void {
  tally.set(word, (tally.get(word) ?? 0) + times)
}

export function sumOf(tally: Tally): number {
  return [...tally.values()].reduce((sum, times) => sum + times, 0)
}

/** As a label: the code of an error of this library, or `OTHER`. */
export function codeOf(error: unknown): string {
  return error instanceof LockstepError ? error.code : 'OTHER'
}
