/** From measurements to rows, and whether their targets are met. */
import { planOf, type RowName, type RowPlan, type Target } from './row-plans.ts'
import { median, type Spread, spreadOf } from './statistics.ts'

export interface Row {
  readonly name: string
  /** `null`: it could not be measured, and `reason` says why. */
  readonly value: number | null
  readonly unit: string
  /** Median of the per-round ratios; `null` for a row that is compared to nothing. */
  readonly ratio: number | null
  readonly against: string
  /** Of the ratio where there is one, else of the value. */
  readonly spread: Spread | null
  readonly target: Target | null
  /** `null`: there is no target, or no measurement. */
  readonly met: boolean | null
  readonly reason?: string
}

/** One block of each side, in ms. */
export interface Round {
  readonly oursMs: number
  readonly bareMs: number
}

export function ratiosOf({ ratio }: RowPlan, rounds: readonly Round[]): readonly number[] {
  return rounds.map(({ oursMs, bareMs }) => (ratio === 'time' ? oursMs / bareMs : bareMs / oursMs))
}

export function ratioRow(name: RowName, rounds: readonly Round[], operations: number): Row {
  const plan = planOf(name)
  const ratios = ratiosOf(plan, rounds)
  const msEach = median(rounds.map(({ oursMs }) => oursMs)) / operations
  const value = plan.ratio === 'time' ? msEach * 1_000 : 1_000 / msEach
  const ratio = median(ratios)
  return { ...described(name), value, ratio, spread: spreadOf(ratios), met: metBy(plan, ratio) }
}

/** Of the samples the median is told, or the largest or smallest where the worst round counts. */
export function valueRow(
  name: RowName,
  samples: readonly number[],
  which: 'median' | 'largest' | 'smallest',
): Row {
  const value = told[which](samples)
  const spread = spreadOf(samples)
  return { ...described(name), value, ratio: null, spread, met: metBy(planOf(name), value) }
}

const told = {
  median,
  largest: (samples: readonly number[]) => Math.max(...samples),
  smallest: (samples: readonly number[]) => Math.min(...samples),
} as const

/** A value that was come by otherwise; `samples` show how it moves. */
export function measuredRow(name: RowName, value: number, samples: readonly number[]): Row {
  const plan = planOf(name)
  return {
    ...described(name),
    value,
    ratio: null,
    spread: spreadOf(samples),
    met: metBy(plan, value),
  }
}

export function unmeasuredRow(name: RowName, reason: string): Row {
  return { ...described(name), value: null, ratio: null, spread: null, met: null, reason }
}

function described(name: RowName): Pick<Row, 'name' | 'unit' | 'against' | 'target'> {
  const { unit, against, target } = planOf(name)
  return { name, unit, against, target: target ?? null }
}

function metBy({ target }: RowPlan, measured: number): boolean | null {
  return target === undefined ? null : isMet(target, measured)
}

export function isMet(target: Target, measured: number): boolean {
  return 'atLeast' in target ? measured >= target.atLeast : measured <= target.atMost
}

/** Half of the rounds don't agree on whether the target is met: more of them are wanted. */
export function isUndecided(target: Target | undefined, ratios: readonly number[]): boolean {
  if (target === undefined) return false
  const { low, high } = spreadOf(ratios)
  return isMet(target, low) !== isMet(target, high)
}

/** A target that was missed or could not be measured: what `--check` fails for. */
export function isFailure({ target, met }: Row): boolean {
  return target !== null && met !== true
}
