/**
 * Bloom filters in Redis (DESIGN §8): two bitmaps for each entity, and the record of a build, all in
 * one slot. What invalidations add to them is in `l2.ts`, what reads ask of them in `lookups.ts`.
 */
import { randomBytes } from 'node:crypto'
import type { Redis } from 'ioredis'
import { type FilterShape, headerBytes, type Seed } from '../model/bloom.ts'
import type { Clock } from '../model/clock.ts'
import type {
  Begun,
  Build,
  BuildAnswer,
  BuildProgress,
  FilterStatus,
  L2Filters,
  ScanStart,
  Unavailable,
} from '../model/filter-ports.ts'
import { unanswered, withDeadline } from '../resilience/deadline.ts'
import type { RedisClient } from './call.ts'
import { checkPart, fittingBits, hashesOf, headerIn, isNo, type Said } from './filter-answers.ts'
import { decodeProgress, decodeStart, encodeProgress, encodeStart } from './filter-record.ts'
import { type StatusAnswer, statusIn } from './filter-status.ts'
import type { KeySpace } from './keys.ts'
import type { RedisNode, RedisNodes } from './nodes.ts'
import { withoutCommand } from './refusal.ts'
import { readScripts, runScript, type ScriptName } from './scripts.ts'

export interface RedisFiltersOptions {
  readonly redis: RedisClient
  readonly nodes: RedisNodes
  readonly keys: KeySpace
  readonly clock: Clock
  readonly seedOf: (entity: string) => Seed
}

/** Put off by each `status`: what a namespace leaves behind goes by itself. */
const lifeMs = String(86_400_000)
/** What is gathered for a merge that never comes. */
const partLifeMs = String(60_000)
const pieceBytes = 2 ** 20
/** Ids that one Lua call asks for: the node does nothing else meanwhile. */
const mostInCall = 1_024
/**
 * For what handles a whole bitmap, beside the breaker: that it takes its time says nothing of Redis.
 * Below the 2 s without an answer after which a connection is given up.
 */
const wholeDeadlineMs = 1_500

export class RedisFilters implements L2Filters {
  readonly #options: RedisFiltersOptions
  readonly #scripts = readScripts()
  readonly #prefix: string

  constructor(options: RedisFiltersOptions) {
    this.#options = options
    this.#prefix = options.redis.options.keyPrefix ?? ''
  }

  seedOf(entity: string): Seed {
    return this.#options.seedOf(entity)
  }

  async status(entity: string): Promise<FilterStatus | Unavailable> {
    const { keys } = this.#options
    const node = this.#nodeOf(entity)
    const named = [...this.#buildKeys(entity), keys.filterRequest(entity)]
    const args = [this.#mark(entity), lifeMs, this.#barrierAt(node)]
    try {
      const answer = await this.#run(node, 'filter-status', named, args)
      return statusIn(answer as StatusAnswer, this.seedOf(entity), node)
    } catch (error) {
      return unavailable(error)
    }
  }

  async request(entity: string): Promise<BuildAnswer> {
    const { keys } = this.#options
    const redis = this.#options.redis as Redis
    const key = keys.filterRequest(entity)
    try {
      await this.#nodeOf(entity).hop.run(() => redis.set(key, '', 'PX', lifeMs))
      return { kind: 'done' }
    } catch (error) {
      return unavailable(error)
    }
  }

  async begin(
    entity: string,
    shape: FilterShape,
    expected: number,
    leaseMs: number,
  ): Promise<Begun> {
    const owner = randomBytes(9).toString('base64url')
    const { bits, places } = shape
    const { least, most } = fittingBits(shape)
    const numbers = [bits, places, least, most].map(String)
    const progress = encodeProgress({ cursor: undefined, scanned: 0, expected })
    const args = [this.#mark(entity), owner, wholeMs(leaseMs), lifeMs, ...numbers, progress]
    const keys = [...this.#buildKeys(entity), this.#options.keys.filterRequest(entity)]
    try {
      const answer = await this.#runWhole('filter-begin', keys, args)
      const [kind, generation, found, start, left] = answer as [
        Buffer,
        number,
        number,
        Buffer,
        Buffer,
      ]
      const build = { entity, owner, generation, places }
      switch (String(kind)) {
        case 'held':
          return { kind: 'held' }
        case 'declared':
          return { kind: 'declared', build: { ...build, bits } }
        case 'resumed': {
          const at = { start: decodeStart(start), progress: decodeProgress(left) }
          return { kind: 'resumed', build: { ...build, bits: found }, ...at }
        }
        default:
          throw new Error(`filter-begin.lua answered ${String(kind)}`)
      }
    } catch (error) {
      return unavailable(error)
    }
  }

  renew(build: Build, leaseMs: number): Promise<BuildAnswer> {
    return this.#step('filter-renew', build, [wholeMs(leaseMs)])
  }

  started(build: Build, start: ScanStart): Promise<BuildAnswer> {
    return this.#step('filter-started', build, [encodeStart(start)])
  }

  async merge(build: Build, part: Uint8Array, progress: BuildProgress): Promise<BuildAnswer> {
    checkPart(build, part)
    // Of this part alone: a piece of an earlier try that comes late is none of it.
    const token = `${build.owner}:${randomBytes(6).toString('base64url')}`
    const key = this.#options.keys.filterPart(build.entity, token)
    try {
      await this.#upload(build, key, part)
      const args = [...this.#own(build), lifeMs, encodeProgress(progress)]
      const keys = [...this.#buildKeys(build.entity), key]
      return answerOf(await this.#runWhole('filter-merge', keys, args))
    } catch (error) {
      return unavailable(error)
    }
  }

  async finish(build: Build): Promise<BuildAnswer> {
    const args = [...this.#own(build), lifeMs]
    try {
      return answerOf(await this.#runWhole('filter-finish', this.#buildKeys(build.entity), args))
    } catch (error) {
      return unavailable(error)
    }
  }

  /** What can't be dropped now goes by itself. */
  async abandon(build: Build): Promise<void> {
    await this.#step('filter-abandon', build, [])
  }

  async missing(
    entity: string,
    generation: number,
    ids: readonly string[],
  ): Promise<readonly boolean[]> {
    const seed = this.seedOf(entity)
    const missing: boolean[] = []
    try {
      for (let start = 0; start < ids.length; start += mostInCall) {
        const some = ids.slice(start, start + mostInCall)
        const args = [hashesOf(seed, some), String(generation), '']
        const keys = this.#bitmapKeys(entity)
        const answer = await this.#run(this.#nodeOf(entity), 'filter-asked', keys, args)
        const [head, length, says] = answer as [Buffer?, number?, Buffer?]
        const said = head && length !== undefined && says && { head, length, says }
        const isGood = said && headerIn(head, length, seed) !== undefined
        missing.push(...some.map((_, nth) => isGood === true && isNo(said as Said, nth)))
      }
      return missing
    } catch {
      return ids.map(() => false)
    }
  }

  async read(
    entity: string,
    generation: number,
    offset: number,
    bytes: number,
  ): Promise<Buffer | undefined> {
    const args = [this.#mark(entity), ...[generation, offset, bytes].map(String)]
    try {
      const keys = this.#bitmapKeys(entity)
      const answer = await this.#run(this.#nodeOf(entity), 'filter-read', keys, args)
      return (answer as Buffer | null) ?? undefined
    } catch {
      return undefined
    }
  }

  /** In pieces, each of which Redis takes at once; the header's bytes are zeros. */
  async #upload({ entity }: Build, key: string, part: Uint8Array): Promise<void> {
    const node = this.#nodeOf(entity)
    for (let sent = 0; sent < headerBytes + part.length; ) {
      const start = sent === 0 ? 0 : sent - headerBytes
      const some = part.subarray(start, start + pieceBytes)
      const piece =
        sent === 0 ? Buffer.concat([Buffer.alloc(headerBytes), some]) : Buffer.from(some)
      const args = [String(sent), piece, partLifeMs]
      const answer = await this.#run(node, 'filter-part', [key], args)
      if (String(answer) !== 'done') throw partGone()
      sent += piece.length
    }
  }

  async #step(
    script: ScriptName,
    build: Build,
    args: readonly (string | Buffer)[],
  ): Promise<BuildAnswer> {
    const { entity } = build
    const all = [...this.#own(build), ...args]
    try {
      return answerOf(await this.#run(this.#nodeOf(entity), script, this.#buildKeys(entity), all))
    } catch (error) {
      return unavailable(error)
    }
  }

  #run(
    node: RedisNode,
    script: ScriptName,
    keys: readonly string[],
    args: readonly (string | Buffer)[],
  ): Promise<unknown> {
    return node.hop.run(() => runScript(this.#options.redis, this.#scripts[script], keys, args))
  }

  #runWhole(
    script: ScriptName,
    keys: readonly string[],
    args: readonly (string | Buffer)[],
  ): Promise<unknown> {
    const late = unanswered(wholeDeadlineMs)
    return withDeadline(wholeDeadlineMs, late, undefined, this.#options.clock, () =>
      runScript(this.#options.redis, this.#scripts[script], keys, args),
    )
  }

  /** Whose build it is, for the scripts. */
  #own({ entity, owner, generation }: Build): (string | Buffer)[] {
    return [this.#mark(entity), owner, String(generation)]
  }

  #mark(entity: string): Buffer {
    return hashesOf(this.seedOf(entity), [])
  }

  #bitmapKeys(entity: string): string[] {
    const { keys } = this.#options
    return [keys.filter(entity, 0), keys.filter(entity, 1)]
  }

  #buildKeys(entity: string): string[] {
    return [...this.#bitmapKeys(entity), this.#options.keys.filterBuild(entity)]
  }

  #nodeOf(entity: string): RedisNode {
    const { keys, nodes } = this.#options
    return nodes.only ?? (nodes.shares([keys.filter(entity, 0)])[0] as { node: RedisNode }).node
  }

  /** For ARGV, which ioredis gives no prefix. '' when none is known. */
  #barrierAt(node: RedisNode): string {
    const tag = node.tag()
    return tag === undefined ? '' : this.#prefix + this.#options.keys.barrier(tag)
  }
}

function unavailable(error: unknown): Unavailable {
  return { kind: 'unavailable', cause: withoutCommand(error) }
}

function answerOf(answer: unknown): BuildAnswer {
  switch (String(answer)) {
    case 'done':
      return { kind: 'done' }
    case 'lost':
      return { kind: 'lost' }
    default:
      return unavailable(partGone())
  }
}

const partGone = (): Error => new Error('Redis has dropped what was to be merged')

const wholeMs = (ms: number): string => String(Math.ceil(ms))
