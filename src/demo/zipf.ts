/**
 * Draws ranks 0 … count - 1, rank r in proportion to 1 / (r + 1) ^ exponent: exactly, by a search in
 * the cumulated shares (8 bytes a rank).
 */
export function zipf(count: number, exponent: number): (random: () => number) => number {
  const cumulated = new Float64Array(count)
  let sum = 0
  for (let rank = 0; rank < count; rank++) {
    sum += (rank + 1) ** -exponent
    cumulated[rank] = sum
  }
  return (random) => {
    const wanted = random() * sum
    let low = 0
    let high = count - 1
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((cumulated[middle] as number) > wanted) high = middle
      else low = middle + 1
    }
    return low
  }
}
