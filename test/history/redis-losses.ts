/** When Redis may have forgotten what it had acknowledged: then some promises rest (DESIGN §1, I4). */
import { HistoryError } from './format.ts'
import type { Fault } from './record.ts'

/**
 * `keeps`: late or away, and then what it was. `forgets`: values and fences are gone. `goes back`: an
 * older state may be there again.
 */
type Loss = 'keeps' | 'forgets' | 'goes back'

const losses: Readonly<Record<string, Loss>> = {
  'redis-failover': 'goes back',
  'redis-restart-empty': 'forgets',
  'redis-flush': 'forgets',
  'redis-evict': 'forgets',
  'redis-stopped': 'keeps',
  // A replica: nobody asks it.
  'redis-killed': 'keeps',
}

/** Times at which faults of some kinds went on. */
class Times {
  /** In the order in which they began, with the latest end of all up to there. */
  readonly #begins: number[] = []
  readonly #ends: number[] = []

  constructor(faults: readonly Fault[]) {
    for (const { begin, end } of [...faults].sort((one, other) => one.begin - other.begin)) {
      this.#begins.push(begin)
      this.#ends.push(Math.max(end, this.#ends.at(-1) ?? Number.NEGATIVE_INFINITY))
    }
  }

  /** Did one go on at any time between the two? */
  touch(from: number, to: number): boolean {
    let low = 0
    let high = this.#begins.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#begins[middle] as number) <= to) low = middle + 1
      else high = middle
    }
    return low > 0 && (this.#ends[low - 1] as number) >= from
  }
}

export interface RedisLosses {
  readonly anything: Times
  readonly goneBack: Times
}

/** Throws for a fault of Redis that isn't known here: a judge that guesses accuses, or overlooks. */
export function redisLosses(faults: readonly Fault[]): RedisLosses {
  const ofKind = (...wanted: readonly Loss[]): Times =>
    new Times(faults.filter(({ fault }) => wanted.includes(lossOf(fault))))
  return { anything: ofKind('forgets', 'goes back'), goneBack: ofKind('goes back') }
}

function lossOf(fault: string): Loss {
  if (!fault.startsWith('redis-')) return 'keeps'
  const loss = Object.hasOwn(losses, fault) ? losses[fault] : undefined
  if (loss) return loss
  throw new HistoryError(
    `the judge doesn't know what Redis forgets by the fault "${fault}"; it knows ${Object.keys(losses).join(', ')}`,
  )
}
