/** A cache in which no write drops anything: what every check of stale answers must notice. */
import type { Nonce, Region } from '../../src/model/ports.ts'
import type { Parts } from '../../src/running-cache.ts'
import { all, withL2 } from './parts.ts'

/** Redis says that it has dropped the values, and has not. */
export const withBrokenL2 = withL2(() => ({
  invalidate: async (_write, drops) => ({
    kind: 'dropped',
    nonces: drops.map(() => 'none' as Nonce),
    values: 0,
  }),
}))

/** L1 is told of no write. */
export function withDeafL1(parts: Parts): Parts {
  const regions = [...parts.regions].map(([name, region]) => [name, deaf(region)] as const)
  return { ...parts, regions: new Map(regions) }
}

export const withBrokenInvalidation = all(withBrokenL2, withDeafL1)

function deaf(region: Region): Region {
  return {
    find: (key) => region.find(key),
    hit: (slot) => region.hit(slot),
    valueAt: (slot) => region.valueAt(slot),
    promiseAt: (slot) => region.promiseAt(slot),
    isShared: (slot) => region.isShared(slot),
    freshUntilMs: (slot) => region.freshUntilMs(slot),
    candidateAt: (slot) => region.candidateAt(slot),
    fillFromSource: (...args) => region.fillFromSource(...args),
    fillFromL2: (...args) => region.fillFromL2(...args),
    told: () => {},
    dropOlder: (...args) => region.dropOlder(...args),
    isOutdated: () => false,
    doubt: () => undefined,
    settle: (...args) => region.settle(...args),
    reset: () => region.reset(),
    get count() {
      return region.count
    },
    get weightBytes() {
      return region.weightBytes
    },
    get fills() {
      return region.fills
    },
    get refusedFills() {
      return region.refusedFills
    },
    get drops() {
      return region.drops
    },
    get evictions() {
      return region.evictions
    },
  }
}
