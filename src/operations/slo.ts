/**
 * Rules that set flags by themselves: a share of calls above a limit for a while sets one, and below a
 * lower limit it is unset. Between the two nothing changes (hysteresis), and with too few calls to tell
 * nothing is concluded: what was set then ends by itself. What a rule measures is this process' own, and
 * so is what it sets.
 */
import type { Clock } from '../model/clock.ts'
import { type Duration, durationMs } from '../model/duration.ts'
import { isPlainObject, wrong } from '../model/entity.ts'
import { checkFlagName, type FlagChange, type FlagName, longestFlagMs } from '../model/flags.ts'
import type { Ratio } from '../telemetry/ratios.ts'

const sloRatios = [
  'l2.failures',
  'source.failures',
  'reads.failed',
  'reads.stale',
] as const satisfies readonly Ratio[]
type SloRatio = Ratio

export interface SloRule {
  /**
   * What share is looked at: of calls of Redis (`l2.failures`) or PostgreSQL (`source.failures`) those
   * without an answer; of reads those that failed (`reads.failed`) or were answered past their ttl
   * (`reads.stale`).
   */
  ratio: SloRatio
  /** Above this share, from 0 to 1, for `during`, the flag is set. */
  above: number
  /** Below this share it is unset; less than `above`. */
  below: number
  /** How long it has to be above (1 s to 1 h). */
  during: Duration
  /** At most one rule a flag. */
  flag: FlagName
  /** How long the flag is set; longer, when it is still above then. At least 5 s. */
  for: Duration
  /** With fewer calls than this nothing is concluded (default 20). */
  least?: number
}

export interface SloRuleMs {
  readonly ratio: SloRatio
  readonly above: number
  readonly below: number
  readonly duringMs: number
  readonly flag: FlagName
  readonly forMs: number
  readonly least: number
}

/** Numbers that only grow. */
interface Share {
  readonly part: number
  readonly all: number
}

interface SloState {
  /** What was counted up to when something was last concluded. */
  readonly base: Share & { readonly atMs: number }
  readonly aboveSinceMs: number | undefined
  /** When the flag was last set. */
  readonly setAtMs: number | undefined
}

function newSloState(share: Share, nowMs: number): SloState {
  return { base: { ...share, atMs: nowMs }, aboveSinceMs: undefined, setAtMs: undefined }
}

/** What the rule concludes now. */
function conclude(
  rule: SloRuleMs,
  state: SloState,
  share: Share,
  nowMs: number,
): { readonly state: SloState; readonly act?: 'set' | 'unset' } {
  const { base } = state
  const hasEnded = state.setAtMs !== undefined && nowMs - state.setAtMs >= rule.forMs
  const setAtMs = hasEnded ? undefined : state.setAtMs
  const all = share.all - base.all
  const next = { ...share, atMs: nowMs }
  if (all < rule.least) {
    // A few calls of long ago say nothing of now.
    const isOld = nowMs - base.atMs >= rule.duringMs
    return {
      state: isOld
        ? { base: next, aboveSinceMs: undefined, setAtMs }
        : { base, aboveSinceMs: state.aboveSinceMs, setAtMs },
    }
  }
  const ratio = (share.part - base.part) / all
  if (ratio > rule.above) {
    const aboveSinceMs = state.aboveSinceMs ?? base.atMs
    const isLong = nowMs - aboveSinceMs >= rule.duringMs
    // Before it ends, so that it does not end in between.
    const isDue = setAtMs === undefined || nowMs - setAtMs >= rule.forMs / 2
    return isLong && isDue
      ? { state: { base: next, aboveSinceMs, setAtMs: nowMs }, act: 'set' }
      : { state: { base: next, aboveSinceMs, setAtMs } }
  }
  if (ratio < rule.below && setAtMs !== undefined) {
    return { state: { base: next, aboveSinceMs: undefined, setAtMs: undefined }, act: 'unset' }
  }
  return { state: { base: next, aboveSinceMs: undefined, setAtMs } }
}

const lookEveryMs = 1_000

export interface SloWatchOptions {
  readonly rules: readonly SloRuleMs[]
  readonly read: (ratio: SloRatio) => Share
  readonly instance: string
  readonly clock: Clock
  readonly act: (change: FlagChange) => void
}

/** Looks every second. */
export class SloWatch {
  readonly #options: SloWatchOptions
  #states: readonly SloState[] = []
  #cancel: () => void = () => {}

  constructor(options: SloWatchOptions) {
    this.#options = options
  }

  start(): void {
    const { clock, read, rules } = this.#options
    if (rules.length === 0) return
    this.#states = rules.map(({ ratio }) => newSloState(read(ratio), clock.monotonicMs()))
    this.#lookLater()
  }

  close(): void {
    this.#cancel()
  }

  #lookLater(): void {
    this.#cancel = this.#options.clock.after(lookEveryMs, () => {
      this.#look()
      this.#lookLater()
    })
  }

  #look(): void {
    const { act, clock, instance, read, rules } = this.#options
    const nowMs = clock.monotonicMs()
    this.#states = this.#states.map((state, index) => {
      const rule = rules[index] as SloRuleMs
      const concluded = conclude(rule, state, read(rule.ratio), nowMs)
      if (concluded.act) act(changeOf(rule, concluded.act, instance))
      return concluded.state
    })
  }
}

function changeOf(rule: SloRuleMs, kind: FlagChange['kind'], instance: string): FlagChange {
  const { above, below, duringMs, flag, forMs, ratio } = rule
  const reason =
    kind === 'set' ? `${ratio} above ${above} for ${duringMs / 1_000} s` : `${ratio} below ${below}`
  return { kind, flag, forMs, reason, author: `rule ${ratio}`, by: 'slo', instance }
}

const known = ['ratio', 'above', 'below', 'during', 'flag', 'for', 'least'] as const
const mostRules = 32
const leastCalls = 20
const shortestMs = { during: 1_000, for: 5_000 } as const
const longestDuringMs = 3_600_000

/** Throws `OPTION_INVALID`. */
export function settleSlo(rules: unknown = []): readonly SloRuleMs[] {
  if (!Array.isArray(rules) || rules.length > mostRules) {
    throw wrong('slo', rules, `an array of at most ${mostRules} rules would do`)
  }
  const settled = rules.map((rule: unknown, index) => settleRule(rule, `slo[${index}]`))
  for (const [index, { flag }] of settled.entries()) {
    if (settled.findIndex((one) => one.flag === flag) < index) {
      throw wrong(`slo[${index}].flag`, flag, 'a flag that no other rule sets would do')
    }
  }
  return settled
}

function settleRule(rule: unknown, option: string): SloRuleMs {
  if (!isPlainObject(rule)) {
    throw wrong(option, rule, `an object with ${known.join(', ')} would do`)
  }
  for (const [key, value] of Object.entries(rule)) {
    if (!known.includes(key as never)) {
      throw wrong(`${option}.${key}`, value, `one of ${known.join(', ')} would do`)
    }
  }
  const { above, below, during, for: lasts, flag, least = leastCalls, ratio } = rule as SloRule
  if (!sloRatios.includes(ratio)) {
    throw wrong(`${option}.ratio`, ratio, `one of ${sloRatios.join(', ')} would do`)
  }
  if (typeof above !== 'number' || !(above > 0 && above < 1)) {
    throw wrong(`${option}.above`, above, 'a share between 0 and 1 would do')
  }
  if (typeof below !== 'number' || !(below >= 0 && below < above)) {
    throw wrong(`${option}.below`, below, `a share from 0 to less than ${above} would do`)
  }
  if (!Number.isSafeInteger(least) || least < 1) {
    throw wrong(`${option}.least`, least, 'a whole number above 0 would do')
  }
  return {
    ratio,
    above,
    below,
    least,
    flag: checkFlagName(`${option}.flag`, flag),
    duringMs: between(`${option}.during`, during, shortestMs.during, longestDuringMs),
    forMs: between(`${option}.for`, lasts, shortestMs.for, longestFlagMs),
  }
}

function between(option: string, value: Duration, least: number, most: number): number {
  const ms = durationMs(option, value)
  if (ms >= least && ms <= most) return ms
  throw wrong(option, value, `${least / 1_000} s to ${most / 3_600_000} h would do`)
}
