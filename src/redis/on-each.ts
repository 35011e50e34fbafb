/** One act on many ids, wherever their keys lie. */
import type { Clock } from '../model/clock.ts'
import { type Call, callAll, type Outcome, type RedisClient } from './call.ts'
import type { RedisNode, RedisNodes, Share } from './nodes.ts'
import { withoutCommand } from './refusal.ts'

/** Ids of one round of Lua calls to a node: it does nothing else meanwhile. */
const idsPerRound = 256

/** `some`: items whose keys lie in one slot, or with `isAcrossSlots` on one node. */
export interface Act<T, R> {
  /** One of the item's keys. */
  readonly keyOf: (item: T) => string
  readonly call: (some: readonly T[], node: RedisNode) => Call
  /** By the order of `some`. */
  readonly read: (
    answer: unknown,
    some: readonly T[],
    node: RedisNode,
    sentAtMs: number,
  ) => readonly R[]
  readonly unavailable: (cause: unknown) => R
  readonly idsPerRound?: number
  /** One call takes what lies on a node, instead of one for each slot. */
  readonly isAcrossSlots?: boolean
}

/**
 * The results by the order of the items. The nodes are asked side by side, each in rounds that don't
 * hold it up for long.
 */
export async function onEach<T, R>(
  redis: RedisClient,
  nodes: RedisNodes,
  clock: Clock,
  items: readonly T[],
  act: Act<T, R>,
): Promise<readonly R[]> {
  if (items.length === 0) return []
  const most = act.idsPerRound ?? idsPerRound
  // Most acts are one call: what follows costs more than some of them.
  if (nodes.only && items.length <= most) return askOnce(redis, clock, nodes.only, items, act)
  const results: R[] = new Array(items.length)
  const askNode = async ({ node, slots }: Share): Promise<void> => {
    const isWhole = act.isAcrossSlots
    for (const round of roundsOf(isWhole ? [slots.flat()] : slots, most)) {
      const groups = round.map((places) => places.map((place) => items[place] as T))
      const sentAtMs = clock.monotonicMs()
      const outcomes = await send(redis, node, groups, act)
      for (const [index, places] of round.entries()) {
        const some = groups[index] as readonly T[]
        const read = resultsOf(outcomes[index] as Outcome, some, act, node, sentAtMs)
        for (const [nth, place] of places.entries()) results[place] = read[nth] as R
      }
    }
  }
  await Promise.all(nodes.shares(items.map(act.keyOf)).map(askNode))
  return results
}

/** All items in one call. */
async function askOnce<T, R>(
  redis: RedisClient,
  clock: Clock,
  node: RedisNode,
  items: readonly T[],
  act: Act<T, R>,
): Promise<readonly R[]> {
  const sentAtMs = clock.monotonicMs()
  const [outcome] = await send(redis, node, [items], act)
  return resultsOf(outcome as Outcome, items, act, node, sentAtMs)
}

async function send<T, R>(
  redis: RedisClient,
  node: RedisNode,
  groups: readonly (readonly T[])[],
  act: Act<T, R>,
): Promise<readonly Outcome[]> {
  try {
    return await node.hop.run(() =>
      callAll(
        redis,
        groups.map((some) => act.call(some, node)),
      ),
    )
  } catch (error) {
    const cause = withoutCommand(error)
    return groups.map(() => ({ isAnswered: false, cause }))
  }
}

function resultsOf<T, R>(
  outcome: Outcome,
  some: readonly T[],
  act: Act<T, R>,
  node: RedisNode,
  sentAtMs: number,
): readonly R[] {
  let cause: unknown
  if (outcome.isAnswered) {
    try {
      return act.read(outcome.answer, some, node, sentAtMs)
    } catch (error) {
      cause = error
    }
  } else cause = withoutCommand(outcome.cause)
  return some.map(() => act.unavailable(cause))
}

/** The places of each slot, in rounds of at most `most`; those of a slot stay together where they fit. */
function roundsOf(
  slots: readonly (readonly number[])[],
  most: number,
): readonly (readonly (readonly number[])[])[] {
  const rounds: (readonly number[])[][] = []
  let room = 0
  for (const places of slots) {
    for (let start = 0; start < places.length; start += most) {
      const some = places.slice(start, start + most)
      if (some.length > room) {
        rounds.push([])
        room = most
      }
      rounds.at(-1)?.push(some)
      room -= some.length
    }
  }
  return rounds
}
