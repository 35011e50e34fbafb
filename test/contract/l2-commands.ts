/**
 * What may happen to an L2: the calls of its port, by several owners, early and late, and what befalls
 * a Redis. Nonces and changes are named by number, so that a sequence of commands means the same on
 * every implementation, and can be shortened.
 */
/** An id of an entity, of which there are few, so that commands meet. */
export interface Spot {
  readonly entity: string
  readonly id: string
}

/** Xids are told as distances from the sequence's `base`. */
export interface SeenUpTo {
  readonly isFormer: boolean
  readonly xmin: number
  readonly xmax: number
  readonly xip: readonly number[]
}

/** A fill of what was loaded; `ago`: under which of the nonces that the spot has had, from the last. */
export interface FillOf {
  readonly spot: Spot
  readonly ago: number
  readonly snapshot: SeenUpTo
  readonly payload: 'a value' | 'no bytes' | 'nothing' | 'compressed bytes' | 'the verdict too big'
  readonly ttl: number
  readonly grace: number
  readonly age: number
  readonly over: 'nothing' | 'the former' | 'both'
}

export interface DropOf {
  readonly spot: Spot
  readonly versions: readonly number[]
  readonly through: (Omit<FillOf, 'spot'> & { version: number; ownsWrite: boolean }) | undefined
}

/** `owner`: which of the processes. Times are in `unitMs`. */
export type Command =
  | { act: 'lookup'; owner: number; version: number; grace: number; spots: readonly Spot[] }
  | {
      act: 'acquire'
      owner: number
      version: number
      spots: readonly Spot[]
      isFormer: boolean
      lease: number
      insist: boolean
    }
  | { act: 'fill'; owner: number; version: number; fills: readonly FillOf[] }
  | { act: 'renew'; owner: number; spot: Spot; ago: number; lease: number }
  | { act: 'release'; owner: number; version: number; spots: readonly Spot[] }
  | { act: 'wait'; owner: number; version: number; spot: Spot }
  | {
      act: 'invalidate'
      owner: number
      isFormer: boolean
      xid: number
      /** So many writes one after the other, each of the next xid; the last of `xid`. */
      writes: number
      drops: readonly DropOf[]
      quiet: boolean
    }
  | { act: 'barrier'; owner: number; snapshot: SeenUpTo }
  | {
      act: 'restore'
      owner: number
      ago: number
      snapshot: SeenUpTo
      generation: SeenUpTo | undefined
    }
  | { act: 'evict'; what: 'fence' | 'values' | 'both'; spot: Spot }
  | { act: 'evict the barrier' }
  | { act: 'damage'; what: 'head' | 'payload' | 'end'; spot: Spot; version: number }
  | { act: 'damage the barrier' }
  | { act: 'flush' }
  | { act: 'save' }
  | { act: 'fail over'; ago: number }
  | { act: 'restart empty' }
  | { act: 'elapse'; units: number }

export interface Sequence {
  readonly base: number
  readonly commands: readonly Command[]
}

/** So long that no machine is so slow that a moment between two commands is taken for one of them. */
export const unitMs = 1_000_000
export const owners = 3
/** By owner: two of them are set up alike, a third forgets sooner. */
export const retentions = [3.5, 3.5, 1.5]
export const versions = [1, 2, 3]

export const spots: readonly Spot[] = [
  { entity: 'thing', id: 'a' },
  { entity: 'thing', id: 'b' },
  { entity: 'other', id: 'a' },
]

/** As a counterexample is read. */
export function textOf(one: Command): string {
  switch (one.act) {
    case 'lookup':
      return `${by(one.owner)} looks up ${all(one.spots)} v${one.version}, grace ${one.grace}`
    case 'acquire': {
      const how = `${one.insist ? ', insists' : ''}${one.isFormer ? ', of the former incarnation' : ''}`
      return `${by(one.owner)} acquires ${all(one.spots)} v${one.version} for ${one.lease}${how}`
    }
    case 'fill':
      return `${by(one.owner)} fills v${one.version} ${one.fills.map((fill) => `${at(fill.spot)} ${fillText(fill)}`).join('; ')}`
    case 'renew':
      return `${by(one.owner)} renews ${at(one.spot)} for ${one.lease} under ${nonce(one.ago)}`
    case 'release':
      return `${by(one.owner)} releases ${all(one.spots)} v${one.version}`
    case 'wait':
      return `${by(one.owner)} waits for ${at(one.spot)} v${one.version}`
    case 'invalidate': {
      const writes = one.writes === 1 ? `${one.xid}` : `${one.xid - one.writes + 1} to ${one.xid}`
      const drops = one.drops.map(({ spot, versions, through }) => {
        const filled =
          through &&
          `, through v${through.version} ${fillText(through)}${through.ownsWrite ? ' with its own' : ''}`
        return `${at(spot)} v${versions.join('+v')}${filled ?? ''}`
      })
      return `${by(one.owner)} invalidates for ${writes}${one.isFormer ? ' of the former incarnation' : ''}: ${drops.join('; ')}${one.quiet ? ', quietly' : ''}`
    }
    case 'barrier':
      return `${by(one.owner)} writes barrier ${seen(one.snapshot)}`
    case 'restore':
      return `${by(one.owner)} restores change -${one.ago} to ${seen(one.snapshot)}${one.generation ? `, generation ${seen(one.generation)}` : ''}`
    case 'evict':
      return `evict ${one.what} of ${at(one.spot)}`
    case 'damage':
      return `damage the ${one.what} of ${at(one.spot)} v${one.version}`
    case 'fail over':
      return `fail over to state -${one.ago}`
    case 'elapse':
      return `${one.units} pass`
    default:
      return one.act
  }
}

const by = (owner: number): string => `owner ${owner}`
const at = ({ entity, id }: Spot): string => `${entity}:${id}`
const all = (some: readonly Spot[]): string => some.map(at).join(' ')
const nonce = (ago: number): string => `nonce -${ago}`

function seen({ isFormer, xmin, xmax, xip }: SeenUpTo): string {
  return `${xmin}:${xmax}:${xip.join()}${isFormer ? ' of the former incarnation' : ''}`
}

function fillText({ ago, snapshot, payload, ttl, grace, age, over }: Omit<FillOf, 'spot'>): string {
  const ended = over === 'nothing' ? '' : `, ${over} over`
  return `under ${nonce(ago)} with ${payload} of ${seen(snapshot)} (ttl ${ttl}, grace ${grace}, age ${age}${ended})`
}
