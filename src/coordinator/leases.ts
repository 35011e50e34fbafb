/**
 * Leases are short, so that nobody waits long for a process that has ended, and are renewed while
 * their loads run. A process that is held up longer than a lease costs one more load, never a wrong
 * value: whether a value may be stored is the nonce's to decide.
 */
import { longestLoadMs } from '../model/defaults.ts'
import type { Lease } from '../model/l2-port.ts'
import type { ReadContext } from './wanted.ts'

const shortestLeaseMs = 80
/** Redis renews an id in 2 µs: leases of more ids than this are longer in proportion, and cost it no more. */
const idsOfShortLeases = 256
/** How often it is looked which loads are past a third of their lease. */
const lookEveryMs = 10
/** A lease may outlast the tries of its load by what a snapshot and the fill take. */
const marginMs = 500

export function leaseMsFor(ids: number): number {
  return Math.ceil(shortestLeaseMs * Math.max(1, ids / idsOfShortLeases))
}

type Context = Pick<
  ReadContext,
  'l2' | 'entity' | 'clock' | 'closing' | 'loadDeadlineMs' | 'loadQueueDeadlineMs' | 'loadRetries'
>

/** What one load holds. */
interface Hold {
  leases: readonly Lease[]
  renewAtMs: number
  readonly endsAtMs: number
}

/** The leases of an entity whose loads run: those that are due are renewed in one call. */
export class Leases {
  readonly #context: Context
  readonly #holds = new Set<Hold>()
  #cancel = (): void => {}

  constructor(context: Context) {
    this.#context = context
  }

  /** Runs a load, and renews its leases until it has ended: also while it waits for its turn. */
  async during(leases: readonly Lease[], load: () => Promise<void>): Promise<void> {
    if (leases.length === 0) return load()
    const { clock } = this.#context
    const beganAtMs = clock.monotonicMs()
    const hold = {
      leases,
      renewAtMs: beganAtMs + leaseMsFor(leases.length) / 3,
      endsAtMs: beganAtMs + longestLoadMs(this.#context) + marginMs,
    }
    this.#holds.add(hold)
    if (this.#holds.size === 1) this.#lookLater()
    try {
      await load()
    } finally {
      this.#holds.delete(hold)
      if (this.#holds.size === 0) this.#cancel()
    }
  }

  #lookLater(): void {
    this.#cancel = this.#context.clock.after(lookEveryMs, () => {
      this.#look()
      if (this.#holds.size > 0 && !this.#context.closing.aborted) this.#lookLater()
    })
  }

  #look(): void {
    const now = this.#context.clock.monotonicMs()
    const due = [...this.#holds].filter(
      ({ leases, renewAtMs, endsAtMs }) => leases.length > 0 && renewAtMs <= now && now < endsAtMs,
    )
    if (due.length > 0 && !this.#context.closing.aborted) void this.#renew(due, now)
  }

  /** What can't be renewed now is tried again in its turn; what is lost is let go. */
  async #renew(due: readonly Hold[], now: number): Promise<void> {
    const { l2, entity } = this.#context
    const all = due.flatMap(({ leases }) => leases)
    const leaseMs = leaseMsFor(all.length)
    for (const hold of due) hold.renewAtMs = now + leaseMs / 3
    const renewals = (await l2?.renew(entity, all, leaseMs)) ?? []
    const lost = new Set(all.filter((_, index) => renewals[index] === 'lost'))
    if (lost.size === 0) return
    for (const hold of due) hold.leases = hold.leases.filter((lease) => !lost.has(lease))
  }
}
