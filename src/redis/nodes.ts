/**
 * The nodes that keys lie on. Each has a hop of its own, so that one that is gone costs the others
 * nothing, and a clock of its own, for the times in the values that it holds.
 */
import { Cluster } from 'ioredis'
import { ownerOf } from '../model/barrier-record.ts'
import type { Clock } from '../model/clock.ts'
import type { Hop } from '../resilience/hop.ts'
import { BesideReader } from './beside.ts'
import type { RedisClient } from './call.ts'
import { RedisClock } from './clock.ts'
import { NodeTags } from './node-tags.ts'
import { slotOf } from './slot.ts'

/** What each call to a node goes through. */
type NodeHop = Pick<Hop, 'run' | 'close'>

export interface RedisNode {
  /** Host and port, on a cluster. */
  readonly name: string
  readonly hop: NodeHop
  readonly clock: RedisClock
  /** Reads the barriers that lie there. */
  readonly besides: BesideReader
  /** A hash tag whose slot is the node's; '' on a single server, `undefined` when none is known. */
  tag(): string | undefined
}

/** What of some keys lies on one node: their places in the list, by slot. */
export interface Share {
  readonly node: RedisNode
  readonly slots: readonly (readonly number[])[]
}

export interface RedisNodes {
  /** Where all keys lie, when it is not a cluster. */
  readonly only: RedisNode | undefined
  /** All that take writes, as far as is known. */
  all(): readonly RedisNode[]
  /** Every key has its place in one share. Keys of one slot may be named in one call. */
  shares(keys: readonly string[]): readonly Share[]
  close(): void
}

export interface NodesOptions {
  readonly clock: Clock
  /** `node`: host and port, on a cluster. Closed with the nodes. */
  readonly openHop: (node: string | undefined, probe: Probe | undefined) => NodeHop
  /** What finds out whether the node of this hash tag answers; without it the calls of others do. */
  readonly probe?: (tag: string) => Promise<unknown>
}

/** `undefined`: there is nothing that could be asked. */
type Probe = () => Promise<unknown> | undefined

export function openNodes(redis: RedisClient, options: NodesOptions): RedisNodes {
  return redis instanceof Cluster ? new ClusterNodes(redis, options) : oneNode(options)
}

function oneNode({ clock, openHop, probe }: NodesOptions): RedisNodes {
  const node: RedisNode = {
    name: 'redis',
    hop: openHop(undefined, probe && (() => probe(''))),
    clock: new RedisClock(clock),
    besides: new BesideReader(ownerOf('redis')),
    tag: () => '',
  }
  return {
    only: node,
    all: () => [node],
    shares: (keys) => [{ node, slots: [keys.map((_, index) => index)] }],
    close: () => node.hop.close(),
  }
}

class ClusterNodes implements RedisNodes {
  readonly only = undefined
  readonly #cluster: Cluster
  readonly #options: NodesOptions
  readonly #nodes = new Map<string, RedisNode>()
  readonly #tags: NodeTags

  constructor(cluster: Cluster, options: NodesOptions) {
    this.#cluster = cluster
    this.#options = options
    this.#tags = new NodeTags(cluster)
  }

  all(): readonly RedisNode[] {
    return [...this.#primaries()].map((name) => this.#node(name))
  }

  shares(keys: readonly string[]): readonly Share[] {
    const { options, slots } = this.#cluster
    const prefix = options.keyPrefix ?? ''
    // ioredis' pipelines ask for slots that have the same replicas, too.
    const groups = new Map<string, Map<number, number[]>>()
    for (const [index, key] of keys.entries()) {
      const slot = slotOf(prefix + key)
      const group = slots[slot]?.join() ?? ''
      const bySlot = groups.get(group) ?? new Map<number, number[]>()
      if (bySlot.size === 0) groups.set(group, bySlot)
      const places = bySlot.get(slot)
      if (places) places.push(index)
      else bySlot.set(slot, [index])
    }
    return [...groups.values()].map((bySlot) => {
      const [slot] = bySlot.keys()
      const primary = slots[slot as number]?.[0] ?? ''
      return { node: this.#node(primary), slots: [...bySlot.values()] }
    })
  }

  close(): void {
    this.#tags.close()
    for (const { hop } of this.#nodes.values()) hop.close()
    this.#nodes.clear()
  }

  #node(name: string): RedisNode {
    const known = this.#nodes.get(name)
    if (known) return known
    this.#forgetThoseWithoutSlots()
    const { openHop, clock, probe } = this.#options
    const tag = (): string | undefined => this.#tags.of(name)
    const probeNode: Probe | undefined =
      probe &&
      (() => {
        const own = tag()
        return own === undefined ? undefined : probe(own)
      })
    const node: RedisNode = {
      name,
      hop: openHop(name, probeNode),
      clock: new RedisClock(clock),
      besides: new BesideReader(ownerOf(name)),
      tag,
    }
    this.#nodes.set(name, node)
    return node
  }

  #forgetThoseWithoutSlots(): void {
    const primaries = this.#primaries()
    for (const [name, { hop }] of this.#nodes) {
      if (primaries.has(name)) continue
      hop.close()
      this.#nodes.delete(name)
    }
  }

  #primaries(): ReadonlySet<string> {
    return new Set(this.#cluster.slots.flatMap((nodes) => nodes?.[0] ?? []))
  }
}
