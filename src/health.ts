/** How a cache is: ready while it can answer, which it can without much of what it is made of. */
import type { FlagInfo } from './operations/flag-board.ts'
import type { RunningCache } from './running-cache.ts'
import type { HopHealth, HopsHealth } from './running-hops.ts'

export interface CacheHealth {
  /**
   * `ready`: all is well. `degraded`: reads are answered, but something is down, unproven or switched
   * off. `unready`: nothing can be answered, or it is closed.
   */
  readonly status: 'ready' | 'degraded' | 'unready'
  /** Can it answer? Traffic should go elsewhere only when it can't. */
  readonly ready: boolean
  /** This process among those of the namespace. */
  readonly instance: string
  readonly source: {
    /** `silent`: PostgreSQL has not answered for 3 s. */
    readonly state: 'answers' | 'silent'
    /** Since it last did; `undefined`: it never has. */
    readonly ageMs: number | undefined
  }
  /** How Redis (`l2`), PostgreSQL (`source`) and Kafka (`bus`) are asked: those that there are. */
  readonly hops: HopsHealth
  /** How writes are heard of for sure. */
  readonly plane: 'outbox' | 'kafka'
  readonly trust: {
    /** L1 is served. */
    readonly proven: boolean
    /** Since it was last known to miss nothing; `undefined`: it never was. */
    readonly ageMs: number | undefined
  }
  readonly relaying: boolean
  /** What this process applies. */
  readonly flags: readonly FlagInfo[]
}

const silentAfterMs = 3_000

/** Of a cluster one node that answers is enough to answer something. */
function isAnyAsked({ breaker, nodes }: HopHealth): boolean {
  return (nodes ? Object.values(nodes) : [breaker]).some((state) => state !== 'open')
}

export function healthOf(cache: RunningCache): CacheHealth {
  const { sourceAgeMs, isRelaying, isTrusted, trustAgeMs, hops, isClosed } = cache.health
  const { entities, flags, instance, settings } = cache
  const answers = sourceAgeMs !== undefined && sourceAgeMs <= silentAfterMs
  // Without entities it relays, and that takes PostgreSQL.
  const hasL2 = entities.size > 0 && hops.l2 !== undefined && isAnyAsked(hops.l2)
  const ready = !isClosed && (answers || isTrusted || hasL2)
  const areHopsWell = Object.values(hops).every(
    ({ breaker, held }) => breaker === 'closed' && !held,
  )
  const isWell = answers && isTrusted && areHopsWell && flags.active.length === 0
  return {
    status: ready ? (isWell ? 'ready' : 'degraded') : 'unready',
    ready,
    instance,
    source: { state: answers ? 'answers' : 'silent', ageMs: sourceAgeMs },
    hops,
    plane: settings.kafka ? 'kafka' : 'outbox',
    trust: {
      proven: isTrusted,
      ageMs: Number.isFinite(trustAgeMs) ? trustAgeMs : undefined,
    },
    relaying: isRelaying,
    flags: flags.active,
  }
}
