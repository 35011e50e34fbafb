/** The answer of filter-status.lua, in the words of the port. */
import type { Seed } from '../model/bloom.ts'
import type { FilterStatus } from '../model/filter-ports.ts'
import { isFilterOutlived } from './beside.ts'
import { headerIn } from './filter-answers.ts'
import { decodeProgress } from './filter-record.ts'
import type { RedisNode } from './nodes.ts'

export type StatusAnswer = readonly [
  Buffer,
  number,
  Buffer,
  number,
  number | Buffer,
  number,
  Buffer,
  number,
  Buffer,
]

export function statusIn(answer: StatusAnswer, seed: Seed, { besides }: RedisNode): FilterStatus {
  const [one, oneBytes, other, otherBytes, generation, isHeld, progress, isRequested] = answer
  const beside = besides.read(answer[8])
  const headers = [headerIn(one, oneBytes, seed), headerIn(other, otherBytes, seed)]
  const found = headers.flatMap((header) => header ?? [])
  const [current] = found
    .filter(({ isReady }) => isReady)
    .sort((left, right) => right.generation - left.generation)
  const building = found.find((header) => !header.isReady && header.generation === generation)
  return {
    kind: 'status',
    current,
    isOutlived: current !== undefined && isFilterOutlived(current, beside),
    hasBarrier: beside.barrier !== undefined,
    building: building && { ...building, ...decodeProgress(progress), isHeld: isHeld === 1 },
    isRequested: isRequested === 1,
  }
}
