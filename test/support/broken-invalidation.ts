/** A cache in which no write drops anything: what every check of stale answers must notice. */
import type { Nonce } from '../../src/model/l2-port.ts'
import { all, withL2, withoutDoubts, withRegions } from './parts.ts'

/** Redis says that it has dropped the values, and has not; and nobody knows better. */
export const withBrokenL2 = all(
  withoutDoubts,
  withL2(() => ({
    invalidate: async (_write, drops) => ({
      kind: 'dropped',
      nonces: drops.map(() => 'none' as Nonce),
      values: 0,
    }),
  })),
)

/** L1 is told of no write. */
export const withDeafL1 = withRegions(() => ({ told: () => {} }))

export const withBrokenInvalidation = all(withBrokenL2, withDeafL1)
