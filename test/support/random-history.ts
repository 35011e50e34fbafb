/**
 * Histories that keep all promises, from a model that knows when each write committed: a read sees
 * any version that it may, and the oldest of them as often as not.
 */
import { randomBelow, seededRandom } from '../../src/demo/random.ts'
import type { Line, ReadLine, Tier, WroteLine } from '../history/format.ts'
import { header } from './history-story.ts'

export interface Commit {
  readonly tag: string
  readonly begin: number
  readonly at: number
  /** `Infinity` where the caller was not told that it committed. */
  readonly end: number
  readonly isFenced: boolean
}

export interface World {
  readonly lines: readonly Line[]
  /** By id; index 0 made version 1. */
  readonly commits: ReadonlyMap<number, readonly Commit[]>
  readonly boundNs: number
}

const ms = 1e6
const ids = 3
const writesPerId = 20
const readCount = 250
const lengthNs = 8_000 * ms
const boundNs = header.boundMs * ms
const outcomes = ['fenced', 'fenced', 'fenced', 'unfenced', 'unknown', 'failed', null] as const

export function randomHistory(seed: number): World {
  const random = seededRandom(seed)
  const upTo = (most: number): number => Math.floor(random() * most)
  const lines: Line[] = []
  const commits = new Map<number, Commit[]>()
  for (let id = 1; id <= ids; id++) commits.set(id, [])

  const write = (n: number, at: number): void => {
    const id = 1 + randomBelow(ids, random)
    const process = randomBelow(4, random)
    const outcome = outcomes[randomBelow(outcomes.length, random)] as WroteLine['outcome'] | null
    const begin = at - upTo(30 * ms)
    const end = at + upTo(30 * ms)
    lines.push({ kind: 'write', process, n, id, via: 'write', begin })
    const isKnown = outcome === 'fenced' || outcome === 'unfenced'
    const known = commits.get(id) as Commit[]
    if (isKnown || (outcome !== 'failed' && random() < 0.5)) {
      const told = isKnown ? end : Number.POSITIVE_INFINITY
      known.push({ tag: `${process}:${n}`, begin, at, end: told, isFenced: outcome === 'fenced' })
    }
    const version = isKnown ? { version: known.length } : {}
    if (outcome) lines.push({ kind: 'wrote', process, n, end, outcome, ...version })
  }

  const read = (): ReadLine => {
    const id = 1 + randomBelow(ids, random)
    const known = commits.get(id) as Commit[]
    const begin = upTo(lengthNs)
    const end = begin + upTo(40 * ms)
    const moment = begin + upTo(end - begin)
    const count = (isOne: (commit: Commit) => boolean): number => 1 + known.findLastIndex(isOne)
    const consistency = random() < 0.4 ? 'strong' : 'bounded'
    const tier = (['l1', 'l2', 'source'] as const)[randomBelow(3, random)] as Tier
    const isProven = tier !== 'l2' || consistency === 'strong' || random() < 0.5
    const ticket = random() < 0.2 ? randomBelow(1 + count((one) => one.end < begin), random) : 0
    const inBound = count(({ at }) => at < begin - boundNs)
    const told = count((one) => one.isFenced && one.end < begin - boundNs)
    const fenced = count((one) => one.isFenced && one.at < moment)
    const least = Math.max(ticket, isProven ? inBound : told, consistency === 'strong' ? fenced : 0)
    const most = Math.max(
      least,
      count(({ at }) => at < moment),
    )
    const version = random() < 0.5 ? least : least + randomBelow(most - least + 1, random)
    return {
      ...{ kind: 'read', process: randomBelow(4, random), id, begin, end, version },
      writer: known[version - 1]?.tag ?? null,
      ...{ consistency, ticket, tier: consistency === 'strong' && tier === 'l1' ? 'l2' : tier },
      proven: isProven,
    }
  }

  const times = Array.from({ length: ids * writesPerId }, () => upTo(lengthNs))
  for (const [n, at] of times.sort((one, other) => one - other).entries()) write(n, at)
  for (let count = 0; count < readCount; count++) lines.push(read())
  return { lines: framed(lines, commits), commits, boundNs }
}

function framed(lines: readonly Line[], commits: ReadonlyMap<number, readonly Commit[]>): Line[] {
  const end = [...commits].flatMap(([id, known]): Line[] => {
    const version = known.length
    return [
      { kind: 'truth', id, version, versions: known.map(({ tag }) => tag) },
      { kind: 'left', process: 1, id, tier: 'l1', version, proven: true },
    ]
  })
  return [{ ...header, ids }, ...lines, ...end, { kind: 'end', at: 2 * lengthNs }]
}
