/**
 * Reads of values, each with the barrier of its node at the same instant (docs/decisions/0010): one
 * MGET, on a cluster one script call per node.
 */
import type { Clock } from '../model/clock.ts'
import type { Lookup } from '../model/ports.ts'
import { lookupOf } from './answers.ts'
import type { RedisClient } from './call.ts'
import type { KeySpace } from './keys.ts'
import type { RedisNode, RedisNodes } from './nodes.ts'
import { type Act, onEach } from './on-each.ts'
import { readScripts } from './scripts.ts'

export interface LookupOptions {
  readonly redis: RedisClient
  readonly nodes: RedisNodes
  readonly keys: KeySpace
  readonly clock: Clock
}

/** Values that one Lua call reads: the node does nothing else meanwhile. */
const mostInCall = 1_024

/** lookup.lua can't tell; never answered. */
const notHere: Lookup = { kind: 'unavailable', cause: new Error('on another node') }

export class RedisLookups {
  readonly #options: LookupOptions
  readonly #prefix: string
  readonly #script = readScripts().lookup
  readonly #mget: CallOf

  constructor(options: LookupOptions) {
    this.#options = options
    this.#prefix = options.redis.options.keyPrefix ?? ''
    const barrier = options.keys.barrier('')
    this.#mget = (some) => ({ keys: [...some, barrier] })
  }

  lookup(keys: readonly string[], graceMs: number): Promise<readonly Lookup[]> {
    return this.#options.nodes.only
      ? this.#ask(keys, graceMs, this.#mget, Number.POSITIVE_INFINITY, false)
      : this.#onCluster(keys, graceMs)
  }

  /** The barrier of a node of a cluster, for ARGV: ioredis gives it no prefix. '' when none is known. */
  barrierAt(node: RedisNode): string {
    const tag = node.tag()
    return tag === undefined ? '' : this.#prefix + this.#options.keys.barrier(tag)
  }

  async #onCluster(keys: readonly string[], graceMs: number): Promise<readonly Lookup[]> {
    const script = this.#script
    const apart: CallOf = ([first, ...others], node) => ({
      script,
      keys: [first as string],
      args: [this.barrierAt(node), ...others.map((key) => this.#prefix + key)],
    })
    const lookups = await this.#ask(keys, graceMs, apart, mostInCall, true)
    const places = [...lookups.keys()].filter((place) => lookups[place] === notHere)
    if (places.length === 0) return lookups
    // Named in KEYS they are found wherever they lie.
    const named = places.map((place) => keys[place] as string)
    const byName: CallOf = (some, node) => ({ script, keys: some, args: [this.barrierAt(node)] })
    const again = await this.#ask(named, graceMs, byName, mostInCall, false)
    const results = [...lookups]
    for (const [nth, place] of places.entries()) results[place] = again[nth] as Lookup
    return results
  }

  /** What every read that misses L1 costs: no object is copied or made twice. */
  #ask(
    keys: readonly string[],
    graceMs: number,
    call: CallOf,
    idsPerRound: number,
    isAcrossSlots: boolean,
  ): Promise<readonly Lookup[]> {
    const { redis, nodes, clock } = this.#options
    const read = (answer: unknown, some: readonly string[], node: RedisNode): Lookup[] =>
      lookupsOf(answer as Answers, some.length, node, graceMs)
    const act = { keyOf: itself, call, read, unavailable, idsPerRound, isAcrossSlots }
    return onEach<string, Lookup>(redis, nodes, clock, keys, act)
  }
}

type CallOf = Act<string, Lookup>['call']

/** The values, then the record of the barrier. */
type Answers = readonly (Buffer | null | 0)[]

function lookupsOf(
  answers: Answers,
  values: number,
  { clock, besides }: RedisNode,
  graceMs: number,
): Lookup[] {
  const beside = besides.read(answers[values] || null)
  const nowMs = clock.nowMs()
  const lookups: Lookup[] = []
  for (let place = 0; place < values; place++) {
    const bytes = answers[place]
    lookups.push(bytes === 0 ? notHere : lookupOf(bytes, beside, nowMs, graceMs))
  }
  return lookups
}

const itself = (key: string): string => key
const unavailable = (cause: unknown): Lookup => ({ kind: 'unavailable', cause })
