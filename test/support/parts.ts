/** Ports with one method replaced: how a test breaks a part, or holds it. */
import type { L2, Outbox, Replicas } from '../../src/model/ports.ts'
import type { Parts } from '../../src/running-cache.ts'

export function withL2(change: (l2: L2) => Partial<L2>): (parts: Parts) => Parts {
  return (parts) => {
    const { l2 } = parts
    if (!l2) throw new Error('this cache has no L2 to change')
    const same: L2 = {
      lookup: (...args) => l2.lookup(...args),
      acquire: (...args) => l2.acquire(...args),
      fill: (...args) => l2.fill(...args),
      renew: (...args) => l2.renew(...args),
      release: (...args) => l2.release(...args),
      filled: (...args) => l2.filled(...args),
      invalidate: (...args) => l2.invalidate(...args),
    }
    return { ...parts, l2: { ...same, ...change(l2) } }
  }
}

export function withOutbox(change: (outbox: Outbox) => Partial<Outbox>): (parts: Parts) => Parts {
  return (parts) => {
    const { outbox } = parts
    const same: Outbox = {
      poll: (...args) => outbox.poll(...args),
      claim: (...args) => outbox.claim(...args),
      mark: (...args) => outbox.mark(...args),
      prune: (...args) => outbox.prune(...args),
    }
    return { ...parts, outbox: { ...same, ...change(outbox) } }
  }
}

export function withReplicas(replicas: Replicas): (parts: Parts) => Parts {
  return (parts) => {
    const { source } = parts
    return {
      ...parts,
      source: {
        replicas,
        load: (...args) => source.load(...args),
        begin: (...args) => source.begin(...args),
        join: (tx) => parts.source.join(tx),
        isRetryable: (error) => source.isRetryable(error),
      },
    }
  }
}

/** The fast plane brings nothing: what holds now doesn't rely on it. */
export function withoutFastPlane(parts: Parts): Parts {
  return { ...parts, fastPlane: undefined }
}

export function all(...changes: readonly ((parts: Parts) => Parts)[]): (parts: Parts) => Parts {
  return (parts) => changes.reduce((changed, change) => change(changed), parts)
}
