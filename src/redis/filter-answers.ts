/** What a filter that was found is to those who ask for one. */
import type { FilterShape } from '../model/bloom.ts'

const leastShare = 0.9
const mostShare = 2

/** May a build of this shape be gone on with where `wanted` is asked for? The ids are others by now. */
export function fits({ bits, places }: FilterShape, wanted: FilterShape): boolean {
  if (places !== wanted.places) return false
  return bits >= wanted.bits * leastShare && bits <= wanted.bits * mostShare
}
