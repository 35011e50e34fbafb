/**
 * Barriers in the nodes of Redis (docs/decisions/0010): each is written by a script that looks
 * whether the server is still the one that the last barrier was written to.
 */
import {
  decodeSnapshot,
  encodeBarrier,
  encodeGeneration,
  ownerOf,
} from '../model/barrier-record.ts'
import type { BarrierAnswer, L2Barriers, NodeChange } from '../model/l2-port.ts'
import type { Incarnation, Snapshot } from '../model/snapshot.ts'
import type { RedisClient } from './call.ts'
import type { KeySpace } from './keys.ts'
import type { RedisNode, RedisNodes } from './nodes.ts'
import { withoutCommand } from './refusal.ts'
import { readScripts, runScript, type Script } from './scripts.ts'

/** Renewed by each barrier: what a namespace leaves behind goes by itself. */
const expireMs = String(3_600_000)

/** What this process was last answered by a node. */
interface Known {
  readonly kind: 'written' | 'changed'
  readonly identity: string
  readonly incarnation: Incarnation
  readonly generation: Buffer
}

export class RedisBarriers implements L2Barriers {
  readonly #redis: RedisClient
  readonly #nodes: RedisNodes
  readonly #keys: KeySpace
  readonly #scripts = readScripts()
  /** By node; the number of nodes bounds it. */
  #known = new Map<string, Known>()

  constructor(redis: RedisClient, nodes: RedisNodes, keys: KeySpace) {
    this.#redis = redis
    this.#nodes = nodes
    this.#keys = keys
  }

  async barrier(snapshot: Snapshot): Promise<readonly BarrierAnswer[]> {
    const nodes = this.#nodes.all()
    if (nodes.length === 0) return [unavailable(new Error('no node of the cluster is known'))]
    const names = new Set(nodes.map(({ name }) => name))
    this.#known = new Map([...this.#known].filter(([name]) => names.has(name)))
    return Promise.all(
      nodes.map((node) => {
        const known = this.#known.get(node.name)
        const isSame = known?.kind === 'written' && known.incarnation === snapshot.incarnation
        const rest = isSame ? [known.identity, known.generation] : ['', '']
        return this.#write(node, this.#scripts.barrier, snapshot, rest)
      }),
    )
  }

  async restore(
    change: NodeChange,
    snapshot: Snapshot,
    generation: Snapshot | undefined,
  ): Promise<BarrierAnswer> {
    const node = this.#nodes.all().find(({ name }) => name === change.node)
    if (!node) return unavailable(new Error(`${change.node} is no node of the cluster any more`))
    const known = this.#known.get(node.name)
    const isSame = known?.kind === 'changed' && known.identity === change.identity
    return this.#write(node, this.#scripts.restore, snapshot, [
      change.identity,
      encodeGeneration(generation),
      ...(isSame ? ['1', known.generation] : ['0', '']),
    ])
  }

  async #write(
    node: RedisNode,
    script: Script,
    snapshot: Snapshot,
    rest: readonly (string | Buffer)[],
  ): Promise<BarrierAnswer> {
    const tag = node.tag()
    if (tag === undefined) return unavailable(new Error(`no slot of ${node.name} is known`))
    const args = [encodeBarrier(snapshot), expireMs, ownerOf(node.name), ...rest]
    try {
      const answer = await node.hop.run(() =>
        runScript(this.#redis, script, [this.#keys.barrier(tag)], args),
      )
      return this.#read(node, snapshot, answer as readonly Buffer[])
    } catch (error) {
      return unavailable(withoutCommand(error))
    }
  }

  #read(node: RedisNode, { incarnation }: Snapshot, answer: readonly Buffer[]): BarrierAnswer {
    const [kind, identity, generation, found] = answer as [Buffer, Buffer, Buffer, Buffer]
    const known = { identity: String(identity), incarnation, generation }
    if (String(kind) === 'written') {
      this.#known.set(node.name, { kind: 'written', ...known })
      return { kind: 'written' }
    }
    this.#known.set(node.name, { kind: 'changed', ...known })
    const change = { node: node.name, identity: known.identity, found: decodeSnapshot(found) }
    return { kind: 'changed', change }
  }
}

function unavailable(cause: unknown): BarrierAnswer {
  return { kind: 'unavailable', cause }
}
