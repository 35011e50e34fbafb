/** Medians and spreads of few, noisy measurements. */

/** Half of the rounds lie between `low` and `high`. */
export interface Spread {
  readonly of: 'interquartile range'
  readonly low: number
  readonly high: number
  readonly rounds: number
}

/** Of at least one value; between two neighbours it goes by their distance (type 7 of Hyndman and Fan, 1996). */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other)
  const place = (sorted.length - 1) * share
  const below = sorted[Math.floor(place)] as number
  const above = sorted[Math.ceil(place)] as number
  return below + (above - below) * (place - Math.floor(place))
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

export function spreadOf(values: readonly number[]): Spread {
  return {
    of: 'interquartile range',
    low: quantile(values, 0.25),
    high: quantile(values, 0.75),
    rounds: values.length,
  }
}
