/** Does commands on one of two places, and tells what came of them so that it can be compared. */
import { type AnyEntity, defineEntity } from '../../src/model/entity.ts'
import type {
  BarrierAnswer,
  Drop,
  Fill,
  L2,
  Lease,
  NodeChange,
  Nonce,
} from '../../src/model/l2-port.ts'
import type { Incarnation, Snapshot, WriteId, Xid } from '../../src/model/snapshot.ts'
import { barrierKey, valueKey } from '../../src/testing/memory-keys.ts'
import {
  type Command,
  type DropOf,
  type FillOf,
  type SeenUpTo,
  type Spot,
  spots,
  unitMs,
} from './l2-commands.ts'
import type { Place } from './l2-places.ts'
import { Views } from './l2-views.ts'
import { former, present } from './words.ts'

/** All that can be seen after a command. */
export interface Outcome {
  readonly answers: unknown
  /** Those that wait and have not been woken. */
  readonly waiting: readonly string[]
  readonly told: unknown
  readonly lies: unknown
  /** What happened, in a word each. */
  readonly kinds: readonly string[]
}

export class Side {
  readonly #place: Place
  readonly #base: number
  readonly #run: number
  readonly #views = new Views()
  /** By spot, the nonces that it has had, and all changes of the server. */
  readonly #noncesOf = new Map<string, Nonce[]>()
  readonly #changes: NodeChange[] = []
  readonly #waiting = new Set<string>()
  #waits = 0
  readonly #ended = new AbortController()

  /** `run`: of which no other sequence has the number. */
  constructor(place: Place, base: number, run: number) {
    this.#place = place
    this.#base = base
    this.#run = run
  }

  begin(): Promise<void> {
    return this.#place.next(spots.map((spot) => ({ ...spot, id: this.#id(spot) })))
  }

  end(): void {
    this.#ended.abort()
  }

  async step(command: Command): Promise<Outcome> {
    const answers = await this.#do(command)
    await this.#place.arrived()
    return {
      answers,
      waiting: [...this.#waiting],
      told: this.#place.told.splice(0),
      lies: this.#views.contents(await this.#place.contents()),
      kinds: this.#views.kinds.splice(0),
    }
  }

  async #do(command: Command): Promise<unknown> {
    const place = this.#place
    switch (command.act) {
      case 'lookup': {
        const { version, grace, spots } = command
        const entity = entityOf(spots, version, grace)
        const lookups = await this.#owner(command).lookup(entity, spots.map(this.#id))
        return lookups.map((lookup) => this.#views.lookup(lookup))
      }
      case 'acquire': {
        const { version, spots, lease, isFormer, insist } = command
        const grants = await this.#owner(command).acquire(
          entityOf(spots, version),
          spots.map(this.#id),
          { incarnation: incarnationOf(isFormer), leaseMs: lease * unitMs, insist },
        )
        for (const [index, grant] of grants.entries()) {
          if (grant.kind === 'lease') this.#remember(spots[index] as Spot, grant.nonce)
        }
        return grants.map((grant) => this.#views.grant(grant))
      }
      case 'fill': {
        const { version, fills } = command
        const entity = entityOf(
          fills.map(({ spot }) => spot),
          version,
        )
        const done = fills.flatMap((fill) => this.#fill(fill, fill.spot) ?? [])
        const answers = await this.#owner(command).fill(entity, done)
        this.#views.kinds.push(...answers)
        return answers
      }
      case 'renew': {
        const { spot, ago, lease } = command
        const held = this.#lease(spot, ago)
        const leases = held ? [held] : []
        const entity = entityOf([spot])
        const answers = await this.#owner(command).renew(entity, leases, lease * unitMs)
        this.#views.kinds.push(...answers)
        return answers
      }
      case 'release': {
        const leases = command.spots.map((spot) => ({
          id: this.#id(spot),
          nonce: 'any' as Nonce,
          tombstones: [],
        }))
        return this.#owner(command).release(entityOf(command.spots, command.version), leases)
      }
      case 'wait':
        return this.#wait(command)
      case 'invalidate':
        return this.#invalidate(command)
      case 'barrier': {
        const answers = await this.#owner(command).barrier(this.#snapshot(command.snapshot))
        return answers.map((answer) => this.#changed(answer))
      }
      case 'restore': {
        const change = this.#changes.at(-1 - command.ago)
        if (!change) return 'nothing has changed'
        const generation = command.generation && this.#snapshot(command.generation)
        const barrier = this.#snapshot(command.snapshot)
        const answer = await this.#owner(command).restore(change, barrier, generation)
        return this.#changed(answer)
      }
      case 'evict': {
        const spot = { ...command.spot, id: this.#id(command.spot) }
        if (command.what !== 'values') await place.evictFence(spot)
        if (command.what !== 'fence') await place.evictValues(spot)
        return
      }
      case 'evict the barrier':
        await place.evictBarrier()
        return
      case 'damage': {
        const { spot, version, what } = command
        return place.change(valueKey(spot.entity, version, this.#id(spot)), damages[what])
      }
      case 'damage the barrier':
        return place.change(barrierKey, damages.payload)
      case 'flush':
        await place.flush()
        return
      case 'save':
        return place.save()
      case 'fail over':
        return place.failOver(command.ago)
      case 'restart empty':
        return place.failOver(undefined)
      case 'elapse':
        return place.elapse(command.units * unitMs)
    }
  }

  async #invalidate(command: Command & { act: 'invalidate' }): Promise<unknown> {
    const { xid, writes, drops, quiet, isFormer } = command
    const all: unknown[] = []
    for (let nth = 0; nth < writes; nth++) {
      const write = { incarnation: incarnationOf(isFormer), xid: this.#xid(xid - writes + 1 + nth) }
      const dropped = await this.#owner(command).invalidate(
        write,
        drops.map((drop) => this.#drop(drop, write)),
        { quiet },
      )
      if (dropped.kind === 'unavailable') throw dropped.cause
      const { nonces, values } = dropped
      if (values > 0) this.#views.kinds.push('dropped')
      for (const [index, { spot }] of drops.entries()) this.#remember(spot, nonces[index])
      all.push({ nonces: nonces.map((nonce) => this.#views.nonce(nonce)), values })
    }
    return all
  }

  #wait(command: Command & { act: 'wait' }): void {
    const { spot, version } = command
    const name = `wait ${++this.#waits} for ${spot.entity}:${spot.id} v${version}`
    this.#waiting.add(name)
    const entity = entityOf([spot], version)
    const woken = this.#owner(command).filled(entity, this.#id(spot), neverMs, this.#ended.signal)
    void woken.then(() => this.#waiting.delete(name))
  }

  // ---- commands in the words of the port

  #owner({ owner }: { readonly owner: number }): L2 {
    return this.#place.owners[owner] as L2
  }

  readonly #id = ({ id }: Spot): string => `${id}.${this.#run}`

  #xid(ahead: number): Xid {
    return (this.#base + ahead) as Xid
  }

  #snapshot({ isFormer, xmin, xmax, xip }: SeenUpTo): Snapshot {
    return {
      incarnation: incarnationOf(isFormer),
      xmin: this.#xid(xmin),
      xmax: this.#xid(xmax),
      xip: xip.map((ahead) => this.#xid(ahead)),
    }
  }

  #lease(spot: Spot, ago: number): Lease | undefined {
    const nonce = this.#noncesOf.get(JSON.stringify(spot))?.at(-1 - ago)
    return nonce && { id: this.#id(spot), nonce, tombstones: [] }
  }

  #fill(fill: Omit<FillOf, 'spot'>, spot: Spot, own?: Xid): Fill | undefined {
    const lease = this.#lease(spot, fill.ago)
    if (!lease) return undefined
    return {
      lease,
      snapshot: { ...this.#snapshot(fill.snapshot), ...(own === undefined ? {} : { own }) },
      ...payloads[fill.payload],
      ttlMs: fill.ttl * unitMs,
      graceMs: fill.grace * unitMs,
      ageMs: fill.age * unitMs,
      over: overs[fill.over],
    }
  }

  #drop({ spot, versions, through }: DropOf, { xid }: WriteId): Drop {
    const fill = through && this.#fill(through, spot, through.ownsWrite ? xid : undefined)
    return {
      entity: spot.entity,
      id: this.#id(spot),
      versions,
      ...(fill ? { through: { ...fill, version: through.version } } : {}),
    }
  }

  #remember(spot: Spot, nonce: Nonce | undefined): void {
    const known = this.#noncesOf.get(JSON.stringify(spot)) ?? []
    if (nonce && known.at(-1) !== nonce) known.push(nonce)
    this.#noncesOf.set(JSON.stringify(spot), known)
  }

  #changed(answer: BarrierAnswer): unknown {
    if (answer.kind === 'changed') this.#changes.push(answer.change)
    return this.#views.barrierAnswer(answer)
  }
}

const neverMs = 2_000_000_000
const incarnationOf = (isFormer: boolean): Incarnation => (isFormer ? former : present)

const overs = { nothing: [], 'the former': [former], both: [former, present] } as const
const payloads = {
  'a value': { payload: Buffer.from('a value') },
  'no bytes': { payload: Buffer.alloc(0) },
  nothing: { payload: undefined },
  'compressed bytes': { payload: Buffer.from('fewer'), form: 'compressed' },
  'the verdict too big': { payload: undefined, form: 'too-big' },
} as const

const damages = {
  head: (bytes: Buffer): Buffer => changed(bytes, 12),
  payload: (bytes: Buffer): Buffer => changed(bytes, bytes.length - 1),
  end: (bytes: Buffer): Buffer => bytes.subarray(0, 30),
} as const

/** Damaged once more it is not whole again. */
function changed(bytes: Buffer, place: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[place] = ((copy[place] ?? 0) + 1) % 256
  return copy
}

function entityOf(spots: readonly Spot[], version = 1, grace = 0): AnyEntity {
  const load = async (): Promise<readonly object[]> => []
  const id = (): string => ''
  const name = (spots[0] as Spot).entity
  return defineEntity(name, { load, id, version, grace: grace * unitMs })
}
