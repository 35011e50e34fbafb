/**
 * What came of a command, in a form in which two places can be compared: names that each chooses for
 * itself (nonces, owners, identities) by the order in which they appear, times to half a unit, which
 * is more than passes between two looks on any machine.
 */
import { decodeBarrierRecord } from '../../src/model/barrier-record.ts'
import { decodeEnvelope } from '../../src/model/envelope.ts'
import type { BarrierAnswer, Grant, Lookup, Stored } from '../../src/model/l2-port.ts'
import type { Snapshot } from '../../src/model/snapshot.ts'
import { barrierKey } from '../../src/testing/memory-keys.ts'
import { headerOf } from '../../src/testing/stored-header.ts'
import { unitMs } from './l2-commands.ts'
import type { Contents, SeenBytes, SeenFence } from './l2-places.ts'

export class Views {
  readonly #nonces = new Names('nonce')
  readonly #identities = new Names('server')
  readonly #owners = new Names('owner')
  /** What happened, in a word each. */
  readonly kinds: string[] = []

  nonce(nonce: string): string {
    return nonce === '' ? '' : this.#nonces.of(nonce)
  }

  lookup(lookup: Lookup): unknown {
    if (lookup.kind === 'unavailable') throw lookup.cause
    this.kinds.push(lookup.kind === 'miss' ? lookup.why : lookup.kind)
    if (lookup.kind === 'miss' || lookup.kind === 'refused') return lookup
    return { kind: lookup.kind, stored: storedAs(lookup.stored) }
  }

  grant(grant: Grant): unknown {
    this.kinds.push(grant.kind)
    switch (grant.kind) {
      case 'value':
        return { kind: 'value', stored: storedAs(grant.stored) }
      case 'lease': {
        if (grant.tombstones.some(({ merged }) => merged)) this.kinds.push('merged')
        const nonce = this.nonce(grant.nonce)
        return { kind: 'lease', id: grant.id, nonce, tombstones: grant.tombstones }
      }
      case 'wait':
        return { ...grant, pollAfterMs: halfUnits(grant.pollAfterMs) }
      case 'unavailable':
        return { kind: 'unavailable', cause: String(grant.cause) }
    }
  }

  barrierAnswer(answer: BarrierAnswer): unknown {
    if (answer.kind === 'unavailable') throw answer.cause
    this.kinds.push(answer.kind)
    if (answer.kind === 'written') return answer
    const { identity, found } = answer.change
    return { kind: 'changed', identity: this.#identities.of(identity), found: plain(found) }
  }

  contents({ nowMs, fences, strings }: Contents): unknown {
    const sorted = <T>(all: ReadonlyMap<string, T>) =>
      [...all].sort(([left], [right]) => (left < right ? -1 : 1))
    return {
      fences: sorted(fences).map(([key, fence]) => ({ key, ...this.#fenceAs(fence) })),
      strings: sorted(strings).map(([key, lying]) => ({
        key,
        ...this.#bytesAs(key, lying, nowMs),
      })),
    }
  }

  #fenceAs({ nonce, owner, leaseLeftMs, tombstones, expiresInMs, ...rest }: SeenFence) {
    return {
      ...rest,
      nonce: this.#nonces.of(nonce),
      owner: owner && this.#owners.of(owner),
      leaseLeft: leaseLeftMs && halfUnits(leaseLeftMs),
      tombstones: tombstones.map(({ ageMs, ...tombstone }) => ({
        ...tombstone,
        age: halfUnits(ageMs),
      })),
      expiresIn: halfUnits(expiresInMs),
    }
  }

  #bytesAs(key: string, { bytes, expiresInMs }: SeenBytes, nowMs: number) {
    const expiresIn = halfUnits(expiresInMs)
    if (key === barrierKey) {
      const record = decodeBarrierRecord(bytes)
      if (!record) return { expiresIn, length: bytes.length }
      const { isValid, identity, barrier, generation } = record
      return {
        expiresIn,
        isValid,
        identity: this.#identities.of(identity),
        barrier: plain(barrier),
        generation: plain(generation),
      }
    }
    const header = headerOf(bytes)
    const envelope = decodeEnvelope(bytes)
    return {
      expiresIn,
      length: bytes.length,
      snapshot: plain(header?.snapshot),
      softExpiryIn: header && halfUnits(header.softExpiryMs - nowMs),
      payload: envelope?.payload?.toString(),
      form: envelope?.form,
      age: envelope && halfUnits(nowMs - envelope.createdAtMs),
    }
  }
}

/** What a place chose itself, named by the order of appearance. */
class Names {
  readonly #prefix: string
  readonly #names = new Map<string, string>()

  constructor(prefix: string) {
    this.#prefix = prefix
  }

  of(chosen: string): string {
    const known = this.#names.get(chosen) ?? `${this.#prefix} ${this.#names.size + 1}`
    this.#names.set(chosen, known)
    return known
  }
}

const halfUnits = (ms: number): number => Math.round(ms / (unitMs / 2)) + 0

function storedAs({ snapshot, payload, form, freshForMs, ageMs, barrier }: Stored) {
  return {
    snapshot: plain(snapshot),
    payload: payload?.toString(),
    form,
    freshFor: halfUnits(freshForMs),
    age: halfUnits(ageMs),
    barrier: plain(barrier),
  }
}

/** As PostgreSQL prints it. */
function plain(snapshot: Snapshot | undefined): string | undefined {
  if (!snapshot) return undefined
  const { incarnation, xmin, xmax, xip, own } = snapshot
  return `${incarnation} ${xmin}:${xmax}:${xip.join()} ${own ?? ''}`
}
