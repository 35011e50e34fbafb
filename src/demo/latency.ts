/** Durations in 16 buckets an octave: a percentile is off by 2.2 % at most, whatever the number of samples. */
const bucketsPerOctave = 16
const octaves = 40

export class LatencyHistogram {
  readonly #buckets = new Uint32Array(octaves * bucketsPerOctave)
  #count = 0

  record(ns: number): void {
    const bucket = Math.round(Math.log2(Math.max(1, ns)) * bucketsPerOctave)
    const known = Math.min(bucket, this.#buckets.length - 1)
    this.#buckets[known] = (this.#buckets[known] as number) + 1
    this.#count++
  }

  get count(): number {
    return this.#count
  }

  /** In milliseconds; `null` without a sample. */
  percentileMs(share: number): number | null {
    let left = this.#count * share
    for (const [bucket, count] of this.#buckets.entries()) {
      left -= count
      if (count > 0 && left <= 0) return Number((2 ** (bucket / bucketsPerOctave) / 1e6).toFixed(4))
    }
    return null
  }
}
