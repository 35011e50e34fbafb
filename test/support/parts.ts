/** Ports with one method replaced: how a test breaks a part, or holds it. */
import type { Region } from '../../src/model/l1-port.ts'
import type { L2 } from '../../src/model/l2-port.ts'
import type { Outbox } from '../../src/model/outbox-port.ts'
import type { Replicas, Source, Transaction } from '../../src/model/source-port.ts'
import type { Tx } from '../../src/postgres/pool.ts'
import type { Parts } from '../../src/running-cache.ts'
import { over } from './over.ts'

export function withL2(change: (l2: L2) => Partial<L2>): (parts: Parts) => Parts {
  return (parts) => {
    if (!parts.l2) throw new Error('this cache has no L2 to change')
    return { ...parts, l2: over(parts.l2, change(parts.l2)) }
  }
}

export function withOutbox(change: (outbox: Outbox) => Partial<Outbox>): (parts: Parts) => Parts {
  return (parts) => ({ ...parts, outbox: over(parts.outbox, change(parts.outbox)) })
}

function withSource(change: (source: Source<Tx>) => Partial<Source<Tx>>): (parts: Parts) => Parts {
  return (parts) => ({ ...parts, source: over(parts.source, change(parts.source)) })
}

/** The transactions that the library begins itself. */
export function withTransactions(
  change: (transaction: Transaction<Tx>) => Partial<Transaction<Tx>>,
): (parts: Parts) => Parts {
  return withSource((source) => ({
    begin: async (...args) => {
      const transaction = await source.begin(...args)
      return over(transaction, change(transaction))
    },
  }))
}

export function withReplicas(replicas: Replicas): (parts: Parts) => Parts {
  return withSource(() => ({ replicas }))
}

export function withRegions(change: (region: Region) => Partial<Region>): (parts: Parts) => Parts {
  return (parts) => {
    const regions = [...parts.regions].map(
      ([name, region]) => [name, over(region, change(region))] as const,
    )
    return { ...parts, regions: new Map(regions) }
  }
}

/**
 * What lies in L2 is not held against what the process was told of: that hides most of what goes wrong
 * in L2, and where a test breaks something there it has to show.
 */
export const withoutDoubts = withRegions(() => ({
  isOutdated: () => false,
  doubt: () => undefined,
}))

/** The fast plane brings nothing: what holds now doesn't rely on it. */
export function withoutFastPlane(parts: Parts): Parts {
  return { ...parts, fastPlane: undefined }
}

export function all(...changes: readonly ((parts: Parts) => Parts)[]): (parts: Parts) => Parts {
  return (parts) => changes.reduce((changed, change) => change(changed), parts)
}
