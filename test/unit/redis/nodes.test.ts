import { Cluster, Redis } from 'ioredis'
import { expect, onTestFinished, test } from 'vitest'
import { systemClock } from '../../../src/model/clock.ts'
import { type NodesOptions, openNodes, type RedisNodes } from '../../../src/redis/nodes.ts'
import { slotOf } from '../../../src/redis/slot.ts'
import { Hop } from '../../../src/resilience/hop.ts'

interface Opened {
  readonly nodes: RedisNodes
  readonly hops: Map<string | undefined, Hop>
}

function open(redis: Redis | Cluster): Opened {
  const hops = new Map<string | undefined, Hop>()
  const nodes = openNodes(redis, {
    clock: systemClock,
    openHop: (node) => {
      const hop = new Hop({ name: 'l2', deadlineMs: 100, isAnswer: () => true })
      hops.set(node, hop)
      return hop
    },
  })
  onTestFinished(() => nodes.close())
  return { nodes, hops }
}

/** Never connected; `owners` as CLUSTER SLOTS would tell them, by turns. */
function clusterOf(...owners: readonly (readonly string[])[]): Cluster {
  const cluster = new Cluster([{ host: '10.0.0.1', port: 6379 }], { lazyConnect: true })
  assign(cluster, owners)
  return cluster
}

function assign(cluster: Cluster, owners: readonly (readonly string[])[]): void {
  cluster.slots = Array.from({ length: 16_384 }, (_, slot) => [
    ...(owners[slot % owners.length] as readonly string[]),
  ])
}

const keys = Array.from({ length: 40 }, (_, index) => `shop:{city:${index}}:v1`)

test('on one server all keys lie together', () => {
  const { nodes } = open(new Redis({ lazyConnect: true }))
  const shares = nodes.shares(keys)
  expect(shares.map(({ slots }) => slots)).toEqual([[keys.map((_, index) => index)]])
  expect(nodes.shares(keys)[0]?.node).toBe(shares[0]?.node)
})

test('on a cluster every key has its place, by node and by slot', () => {
  const { nodes, hops } = open(clusterOf(['a:1'], ['b:1'], ['c:1']))
  const twice = [...keys, ...keys]
  const shares = nodes.shares(twice)
  expect(shares).toHaveLength(3)
  expect([...hops.keys()].sort()).toEqual(['a:1', 'b:1', 'c:1'])
  const places = shares.flatMap(({ slots }) => slots.flat())
  expect(places.sort((a, b) => a - b)).toEqual(twice.map((_, index) => index))
  for (const { slots, node } of shares) {
    for (const some of slots) {
      const [slot, ...others] = new Set(some.map((place) => slotOf(twice[place] as string)))
      expect(others).toEqual([])
      expect(node.hop).toBe(hops.get(['a:1', 'b:1', 'c:1'][(slot as number) % 3]))
    }
  }
})

test('slots of one primary with other replicas are apart, and share its hop and its clock', () => {
  const { nodes, hops } = open(clusterOf(['a:1', 'x:1'], ['a:1', 'y:1']))
  const shares = nodes.shares(keys)
  expect(shares).toHaveLength(2)
  expect(shares[0]?.node).toBe(shares[1]?.node)
  expect(hops.size).toBe(1)
})

test('each node has a clock of its own', () => {
  const { nodes } = open(clusterOf(['a:1'], ['b:1']))
  const [one, other] = nodes.shares(keys).map(({ node }) => node.clock)
  const before = other?.nowMs() as number
  one?.sample(Date.now() + 60_000, systemClock.monotonicMs())
  expect((one?.nowMs() as number) - before).toBeGreaterThan(50_000)
  expect((other?.nowMs() as number) - before).toBeLessThan(10_000)
})

test('a node that has lost its slots is forgotten when another comes', () => {
  const cluster = clusterOf(['a:1'], ['b:1'])
  const { nodes, hops } = open(cluster)
  const [first] = nodes.shares(keys)
  assign(cluster, [['a:1'], ['c:1']])
  nodes.shares(keys)
  assign(cluster, [['a:1'], ['b:1']])
  const before = hops.get('b:1')
  nodes.shares(keys)
  expect(hops.get('b:1')).not.toBe(before)
  expect(nodes.shares(keys).some(({ node }) => node === first?.node)).toBe(true)
})

test('keys of slots that nobody has are asked for all the same', () => {
  const cluster = clusterOf(['a:1'])
  cluster.slots = []
  const [share, ...others] = open(cluster).nodes.shares(keys)
  expect(others).toEqual([])
  expect(share?.slots.flat()).toHaveLength(keys.length)
})

test('each node is asked under a tag of its own whether it answers; one that has none is not', async () => {
  const asked: string[] = []
  const probes = new Map<string | undefined, Parameters<NodesOptions['openHop']>[1]>()
  const openHop: NodesOptions['openHop'] = (node, ask) => {
    probes.set(node, ask)
    return new Hop({ name: 'l2', deadlineMs: 100, isAnswer: () => true })
  }
  const probe = async (tag: string): Promise<void> => void asked.push(tag)
  const cluster = clusterOf(['a:1'], ['b:1'])
  const nodes = openNodes(cluster, { clock: systemClock, openHop, probe })
  onTestFinished(() => nodes.close())
  nodes.shares(keys)
  for (const ask of probes.values()) await ask?.()
  const owners = asked.map((tag) => cluster.slots[slotOf(`{${tag}}`)]?.[0])
  expect(owners.sort()).toEqual(['a:1', 'b:1'])
  assign(cluster, [['a:1']])
  cluster.emit('refresh')
  expect(probes.get('b:1')?.()).toBeUndefined()
  const one = openNodes(new Redis({ lazyConnect: true }), { clock: systemClock, openHop, probe })
  onTestFinished(() => one.close())
  await probes.get(undefined)?.()
  expect(asked.at(-1)).toBe('')
})
