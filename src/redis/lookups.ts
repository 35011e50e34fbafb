/**
 * Reads of values, each with the barrier of its node at the same instant (docs/decisions/0010): one
 * MGET, on a cluster one script call per node.
 */
import type { Seed } from '../model/bloom.ts'
import type { Clock } from '../model/clock.ts'
import type { Lookup } from '../model/l2-port.ts'
import { lookupOf, nothingThere } from './answers.ts'
import type { RedisClient } from './call.ts'
import { askedOf, hashesOf, isNo, refusalOf, type Said } from './filter-answers.ts'
import type { KeySpace } from './keys.ts'
import type { RedisNode, RedisNodes } from './nodes.ts'
import { type Act, onEach } from './on-each.ts'
import { readScripts } from './scripts.ts'

export interface LookupOptions {
  readonly redis: RedisClient
  readonly nodes: RedisNodes
  readonly keys: KeySpace
  readonly clock: Clock
  readonly seedOf: (entity: string) => Seed
}

/** Which ids the newest filter of their entity is asked of. */
export interface Asked {
  readonly entity: string
  readonly ids: readonly string[]
  readonly asked: readonly boolean[]
}

/** Values that one Lua call reads: the node does nothing else meanwhile. */
const mostInCall = 1_024

/** lookup.lua can't tell; never answered. */
const notHere: Lookup = { kind: 'unavailable', cause: new Error('on another node') }

export class RedisLookups {
  readonly #options: LookupOptions
  readonly #prefix: string
  readonly #scripts = readScripts()
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

  /** The same, with what the newest filter says of ids that have no value. */
  ask(keys: readonly string[], graceMs: number, asked: Asked): Promise<readonly Lookup[]> {
    return this.#options.nodes.only
      ? this.#askOnServer(keys, graceMs, asked)
      : this.#askOnCluster(keys, graceMs, asked)
  }

  /** Values, filter and barrier at one instant. */
  #askOnServer(
    keys: readonly string[],
    graceMs: number,
    { entity, ids, asked }: Asked,
  ): Promise<readonly Lookup[]> {
    const { redis, nodes, clock, keys: space } = this.#options
    const seed = this.#options.seedOf(entity)
    const beside = [space.barrier(''), space.filter(entity, 0), space.filter(entity, 1)]
    const placesIn = (some: readonly number[]): number[] =>
      [...some.keys()].filter((nth) => asked[some[nth] as number])
    return onEach<number, Lookup>(redis, nodes, clock, [...keys.keys()], {
      keyOf: (place) => keys[place] as string,
      call: (some) => {
        const own = some.map((place) => ids[place] as string)
        return {
          script: this.#scripts['lookup-asked'],
          keys: [...some.map((place) => keys[place] as string), ...beside],
          args: [askedOf(seed, own, placesIn(some))],
        }
      },
      read: (answer, some, node) => {
        const answers = answer as Answers
        const lookups = lookupsOf(answers, some.length, node, graceMs)
        const [head, length, says] = (answer as unknown[]).slice(some.length + 1)
        if (!head) return lookups
        const said = { head, length, says } as Said
        const record = node.besides.read(answers[some.length] || null)
        const refusal = refusalOf(said, seed, record)
        if (!refusal) return lookups
        for (const [nth, place] of placesIn(some).entries()) {
          if (isNo(said, nth)) lookups[place] = { kind: 'refused', refusal }
        }
        return lookups
      },
      unavailable,
      idsPerRound: mostInCall,
    })
  }

  /** The filter lies on a node of its own, and is asked at the same time. */
  async #askOnCluster(
    keys: readonly string[],
    graceMs: number,
    { entity, ids, asked }: Asked,
  ): Promise<readonly Lookup[]> {
    const places = [...ids.keys()].filter((place) => asked[place])
    const [lookups, refusals] = await Promise.all([
      this.#onCluster(keys, graceMs),
      this.#refusals(
        entity,
        places.map((place) => ids[place] as string),
      ),
    ])
    const results = [...lookups]
    for (const [nth, place] of places.entries()) {
      const refused = refusals[nth]
      if (refused && lookups[place] === nothingThere) results[place] = refused
    }
    return results
  }

  async #refusals(
    entity: string,
    ids: readonly string[],
  ): Promise<readonly (Lookup | undefined)[]> {
    const { redis, nodes, clock, keys } = this.#options
    const seed = this.#options.seedOf(entity)
    const bitmaps = [keys.filter(entity, 0), keys.filter(entity, 1)]
    return onEach<string, Lookup | undefined>(redis, nodes, clock, ids, {
      keyOf: () => bitmaps[0] as string,
      call: (some, node) => ({
        script: this.#scripts['filter-asked'],
        keys: bitmaps,
        args: [hashesOf(seed, some), '', this.barrierAt(node)],
      }),
      read: (answer, some, { besides }) => {
        const [head, length, says, record] = answer as [Buffer?, number?, Buffer?, Buffer?]
        if (!head || length === undefined || !says) return some.map(() => undefined)
        const said = { head, length, says }
        const refusal = refusalOf(said, seed, besides.read(record))
        return some.map((_, nth) =>
          refusal && isNo(said, nth) ? { kind: 'refused', refusal } : undefined,
        )
      },
      unavailable: () => undefined,
      idsPerRound: mostInCall,
    })
  }

  /** The barrier of a node of a cluster, for ARGV: ioredis gives it no prefix. '' when none is known. */
  barrierAt(node: RedisNode): string {
    const tag = node.tag()
    return tag === undefined ? '' : this.#prefix + this.#options.keys.barrier(tag)
  }

  async #onCluster(keys: readonly string[], graceMs: number): Promise<readonly Lookup[]> {
    const script = this.#scripts.lookup
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
