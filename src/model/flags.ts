/**
 * Degradation flags (DESIGN §9): what an operator, a rule or the environment turns off, for how long,
 * and why. A flag never makes a wrong value right: each of them trades speed, freshness within the
 * grace, or writes.
 */
import { type Duration, durationMs } from './duration.ts'
import { checkEntityName, wrong } from './entity.ts'
import { LockstepError } from './errors.ts'

export const flagNames = [
  'l1.bypass',
  'l2.bypass',
  'source.readonly',
  'serve.stale',
  'bloom.off',
  'fill.off',
  'refresh.off',
  'writes.reject',
  'misses.shed',
] as const

export type FlagName = (typeof flagNames)[number]

/** What a flag is for: all of the namespace, one entity, one instance, or one entity on one instance. */
export interface FlagScope {
  readonly entity?: string | undefined
  /** As `cache.health().instance` has it. */
  readonly instance?: string | undefined
}

/** `environment`: an override of one process, kept nowhere. */
export type FlagSetter = 'operator' | 'slo' | 'environment'

export interface FlagChange extends FlagScope {
  readonly kind: 'set' | 'unset'
  readonly flag: FlagName
  /** How long it lasts; nothing of an `unset`. */
  readonly forMs: number
  readonly reason: string
  readonly author: string
  readonly by: Exclude<FlagSetter, 'environment'>
}

/** A flag that is set. */
export interface KeptFlag extends FlagScope {
  /** Of the change that set it: a later one has a larger number. */
  readonly changeId: number
  readonly flag: FlagName
  readonly reason: string
  readonly author: string
  readonly by: Exclude<FlagSetter, 'environment'>
  readonly setAtMs: number
  readonly untilMs: number
  /** By the clock of who was asked, when it was asked. */
  readonly leftMs: number
}

/** All that are set in a namespace, as of one change. */
export interface FlagState {
  /** Of the last change. */
  readonly revision: number
  readonly flags: readonly KeptFlag[]
}

/** One line of the history. */
export interface PastFlagChange extends Omit<FlagChange, 'forMs'> {
  readonly changeId: number
  readonly atMs: number
  /** When it was to end; nothing of an `unset`. */
  readonly untilMs: number | undefined
}

/** What one instance says that it applies. */
export interface FlagReport {
  readonly instance: string
  /** As `flagKey` has them, those of its environment after `environmentMark`. */
  readonly applied: readonly string[]
}

/** Before the name of a flag that one process has by its environment, in what it reports. */
export const environmentMark = 'environment:'

/** What the reads and writes of one entity look at: a hit reads one boolean. */
export type Switches = Readonly<Record<FlagName, boolean>>

export const noFlags: Switches = switchesOf([])

/** A new object of a shape that never changes. */
export function switchesOf(set: Iterable<FlagName>): Record<FlagName, boolean> {
  const switches = Object.fromEntries(flagNames.map((name) => [name, false]))
  for (const name of set) switches[name] = true
  return switches as Record<FlagName, boolean>
}

/** The same for the same flag of the same scope. */
export function flagKey({ flag, entity, instance }: FlagScope & { readonly flag: string }): string {
  return `${flag}|${entity ?? ''}|${instance ?? ''}`
}

export const longestFlagMs = 7 * 24 * 3_600_000
export const mostFlags = 256
/** Characters of a reason and of an author. */
const longestText = 500
const longestInstance = 64

export interface SetFlagOptions extends FlagScope {
  /** When it ends by itself: at most 7 days. */
  readonly for: Duration
  readonly reason: string
  /** Who wants it (default: this process). */
  readonly author?: string | undefined
}

export interface UnsetFlagOptions extends FlagScope {
  readonly reason?: string | undefined
  readonly author?: string | undefined
}

export function isFlagName(name: unknown): name is FlagName {
  return flagNames.includes(name as FlagName)
}

export function checkFlagName(option: string, name: unknown): FlagName {
  if (isFlagName(name)) return name
  throw wrong(option, name, `one of ${flagNames.join(', ')} would do`)
}

const setOptions = ['for', 'reason', 'author', 'entity', 'instance'] as const
const unsetOptions = ['reason', 'author', 'entity', 'instance'] as const

/** Throws `OPTION_INVALID`. */
export function checkedSet(
  flag: unknown,
  options: SetFlagOptions,
  author: string,
  by: FlagChange['by'] = 'operator',
): FlagChange {
  const name = checkFlagName('flag', flag)
  checkOptions(options, setOptions)
  return { kind: 'set', flag: name, forMs: lastsMs(options.for), ...wordsOf(options, author), by }
}

/** Throws `OPTION_INVALID`. */
export function checkedUnset(
  flag: unknown,
  options: UnsetFlagOptions,
  author: string,
  by: FlagChange['by'] = 'operator',
): FlagChange {
  const name = checkFlagName('flag', flag)
  checkOptions(options, unsetOptions)
  const { reason = 'no longer needed' } = options
  return { kind: 'unset', flag: name, forMs: 0, ...wordsOf({ ...options, reason }, author), by }
}

function lastsMs(duration: unknown): number {
  const wouldDo = "how long it lasts would do, at most 7 days: '10m', '2h'"
  if (duration === undefined) throw wrong('for', duration, wouldDo)
  const ms = durationMs('for', duration as Duration)
  if (ms <= 0 || ms > longestFlagMs) throw wrong('for', duration, wouldDo)
  return ms
}

function wordsOf(
  options: FlagScope & { readonly reason: string; readonly author?: string | undefined },
  byDefault: string,
): Pick<FlagChange, 'reason' | 'author' | 'entity' | 'instance'> {
  const { author = byDefault, entity, instance } = options
  if (entity !== undefined) checkEntityName('entity', entity)
  if (instance !== undefined) checkText('instance', instance, longestInstance)
  checkText('reason', options.reason, longestText)
  checkText('author', author, longestText)
  return {
    reason: options.reason,
    author,
    ...(entity === undefined ? {} : { entity }),
    ...(instance === undefined ? {} : { instance }),
  }
}

function checkText(option: string, text: unknown, longest: number): void {
  // NUL is no character of PostgreSQL's, and half a surrogate pair none at all.
  const isText =
    typeof text === 'string' &&
    text.trim() !== '' &&
    text.length <= longest &&
    !text.includes('\0') &&
    text.isWellFormed()
  if (!isText) throw wrong(option, text, `1 to ${longest} characters would do`)
}

function checkOptions(options: unknown, known: readonly string[]): void {
  if (options === null || typeof options !== 'object') {
    throw wrong('options', options, `an object with ${known.join(', ')} would do`)
  }
  for (const [key, value] of Object.entries(options)) {
    if (!known.includes(key)) throw wrong(key, value, `one of ${known.join(', ')} would do`)
  }
}

// ---------------------------------------------------------------- the ladder

export interface LadderStep {
  readonly name: string
  /** All that are set on this step: each step has those of the one before. */
  readonly flags: readonly FlagName[]
}

/** What to give up next when it is not enough: from least to most. */
export const ladder = [
  { name: 'normal', flags: [] },
  { name: 'no refresh-ahead', flags: ['refresh.off'] },
  { name: 'stale within grace', flags: ['refresh.off', 'serve.stale'] },
  { name: 'L2 read-only', flags: ['refresh.off', 'serve.stale', 'fill.off'] },
  { name: 'L1 only', flags: ['refresh.off', 'serve.stale', 'fill.off', 'l2.bypass'] },
  {
    name: 'shed misses',
    flags: ['refresh.off', 'serve.stale', 'fill.off', 'l2.bypass', 'misses.shed'],
  },
] as const satisfies readonly LadderStep[]

/** Flags that some step sets: what a lower step unsets. */
const ofLadder: readonly FlagName[] = ladder[5].flags

/** The changes that lead to a step, from wherever. Throws `OPTION_INVALID`. */
export function checkedStep(
  step: unknown,
  options: SetFlagOptions,
  author: string,
): readonly FlagChange[] {
  const found: LadderStep | undefined =
    typeof step === 'number' && Number.isInteger(step) ? ladder[step as 0] : undefined
  if (!found) throw wrong('step', step, `0 to ${ladder.length - 1} would do`)
  const { for: lasts, ...others } = options ?? {}
  return ofLadder.map((flag) =>
    found.flags.includes(flag)
      ? checkedSet(flag, options, author)
      : checkedUnset(flag, withReason(others, step as number), author),
  )
}

function withReason(options: UnsetFlagOptions, step: number): UnsetFlagOptions {
  return options.reason === undefined
    ? { ...options, reason: `step ${step} of the ladder` }
    : options
}

// ---------------------------------------------------------------- what a flag refuses

/** Why a write is not taken; `undefined`: it is. */
export function refusalOfWrite(
  switches: Switches,
  entity: string,
  isInvalidation: boolean,
): LockstepError | undefined {
  if (switches['source.readonly']) {
    return new LockstepError(
      'SOURCE_READONLY',
      `flag "source.readonly" is set for entity "${entity}": nothing is written through the cache`,
    )
  }
  if (switches['writes.reject'] && !isInvalidation) {
    return new LockstepError(
      'WRITES_REJECTED',
      `flag "writes.reject" is set for entity "${entity}"`,
    )
  }
  return undefined
}
