/** The barriers of one process over a Redis in memory: the rules of barrier.lua and restore.lua. */
import {
  type BarrierRecord,
  decodeBarrierRecord,
  decodeSnapshot,
  encodeBarrier,
  encodeBarrierRecord,
  encodeGeneration,
  ownerOf,
} from '../model/barrier-record.ts'
import type { BarrierAnswer, NodeChange } from '../model/l2-port.ts'
import type { Incarnation, Snapshot } from '../model/snapshot.ts'
import { type Beside, BesideReader } from '../redis/beside.ts'
import { barrierKey } from './memory-keys.ts'
import type { MemoryRedis } from './memory-redis.ts'

const expireMs = 3_600_000
const node = 'memory'
const owner = ownerOf(node)

interface Known {
  readonly kind: 'written' | 'changed'
  readonly identity: string
  readonly incarnation: Incarnation
  readonly generation: Snapshot | undefined
}

export class MemoryBarriers {
  readonly #redis: MemoryRedis
  readonly #reader = new BesideReader(owner)
  #known: Known | undefined

  constructor(redis: MemoryRedis) {
    this.#redis = redis
  }

  /** What lies beside each value now. */
  beside(): Beside {
    return this.#reader.read(this.#redis.get(barrierKey))
  }

  /** barrier.lua */
  barrier(given: Snapshot): BarrierAnswer {
    const snapshot = decodeSnapshot(encodeBarrier(given)) as Snapshot
    const { identity } = this.#redis
    const record = this.#record()
    if (!record) {
      const known = this.#known
      const isHere =
        known?.kind === 'written' &&
        known.identity === identity &&
        known.incarnation === snapshot.incarnation
      return isHere ? this.#written(snapshot, known.generation) : this.#changed(snapshot, record)
    }
    const isSame = record.isValid && record.identity === identity
    if (!isSame || !isOfOneIncarnation(record.barrier, snapshot)) {
      return this.#changed(snapshot, record)
    }
    return this.#written(newest(record.barrier, snapshot), record.generation)
  }

  /** restore.lua */
  restore(change: NodeChange, given: Snapshot, of: Snapshot | undefined): BarrierAnswer {
    if (change.node !== node) {
      return { kind: 'unavailable', cause: new Error(`there is no ${change.node}`) }
    }
    const snapshot = decodeSnapshot(encodeBarrier(given)) as Snapshot
    const generation = of && decodeSnapshot(encodeGeneration(of))
    const { identity } = this.#redis
    const record = this.#record() ?? this.#evicted(change)
    const isHere = record?.identity === identity
    if (isHere && record.isValid && isOfOneIncarnation(record.barrier, snapshot)) {
      return this.#written(newest(record.barrier, snapshot), record.generation)
    }
    if (!isHere || identity !== change.identity) return this.#changed(snapshot, record)
    const known = isOfOneIncarnation(record.generation, snapshot) ? record.generation : undefined
    return this.#written(snapshot, generation ? newest(known, generation) : known)
  }

  #record(): BarrierRecord | undefined {
    const bytes = this.#redis.get(barrierKey)
    return bytes && decodeBarrierRecord(bytes)
  }

  /** The record of a node that has forgotten it since the change. */
  #evicted({ identity }: NodeChange): BarrierRecord | undefined {
    const known = this.#known
    if (known?.kind !== 'changed' || known.identity !== identity) return undefined
    const { generation } = known
    return { isValid: false, identity, owner, barrier: undefined, generation }
  }

  #written(barrier: Snapshot, generation: Snapshot | undefined): BarrierAnswer {
    const { identity } = this.#redis
    this.#put({ isValid: true, identity, owner, barrier, generation })
    this.#known = { kind: 'written', identity, incarnation: barrier.incarnation, generation }
    return { kind: 'written' }
  }

  #changed({ incarnation }: Snapshot, record: BarrierRecord | undefined): BarrierAnswer {
    const { identity } = this.#redis
    const { barrier: found, generation } = record ?? { barrier: undefined, generation: undefined }
    this.#put({ isValid: false, identity, owner, barrier: found, generation })
    this.#known = { kind: 'changed', identity, incarnation, generation }
    return { kind: 'changed', change: { node, identity, found } }
  }

  #put(record: BarrierRecord): void {
    this.#redis.set(barrierKey, encodeBarrierRecord(record), expireMs)
  }
}

function isOfOneIncarnation(left: Snapshot | undefined, right: Snapshot): boolean {
  return left?.incarnation === right.incarnation
}

/** The one of two that sees more; of two incarnations the second. */
function newest(known: Snapshot | undefined, given: Snapshot): Snapshot {
  if (known?.incarnation !== given.incarnation) return given
  const ahead =
    known.xmax - given.xmax || known.xmin - given.xmin || given.xip.length - known.xip.length
  return ahead > 0 ? known : given
}
