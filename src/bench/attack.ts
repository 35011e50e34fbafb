/**
 * Ids that nobody has, asked for in an open loop beside normal reads of the same entity: how often the
 * source is asked for them, and what the normal reads have of it. In turns of a second each: normal
 * reads alone, with the attack on another process of the same cache, and with the attack on their own.
 */
import { lockstep } from '../lockstep.ts'
import type { Question } from './attack-worker.ts'
import { Child } from './children.ts'
import { type Effort, NotMeasured } from './contest.ts'
import { allIds, cityCount, zipfIds } from './data.ts'
import { type Attack, attack, type Counts, filtered, guardedEntity } from './guarded.ts'
import { openLoop } from './open-loop.ts'
import type { CityCache } from './places.ts'
import { measuredRow, type Row, ratioRow } from './row.ts'
import { type Stage, timing } from './stage.ts'
import { quantile } from './statistics.ts'
import { dropKeys } from './sweep.ts'

const normalPerSecond = 2_000
const turns = 10
const leastTurns = 2
const turnMs = 1_000
const idsInTurn = 50_000
/** A tenth of the ids: the others are read from L2. */
const l1Entries = cityCount / 10

export async function measureAttack(
  { place, pool, redis, log, withTable }: Stage,
  { signal, scale }: Effort & { readonly scale: number },
): Promise<readonly Row[]> {
  if (!redis) throw new NotMeasured('there is no Redis')
  await withTable(200)
  await dropKeys(redis, place.others.bloom)
  const counts: Counts = { absent: 0 }
  const cache = await lockstep({
    namespace: place.others.bloom,
    postgres: pool.knex,
    redis,
    entities: { city: guardedEntity(l1Entries, counts) },
    timing,
    logger: log,
  })
  const file = new URL('./attack-worker.js', import.meta.url)
  const other = new Child<Question, Attack>(file, signal)
  try {
    await filtered(cache, (id) => cache.city.get(id), signal)
    await other.ask({ kind: 'open', place, maxEntries: l1Entries })
    await cache.city.getMany(allIds())
    const elsewhere = () => other.ask({ kind: 'attack', forMs: turnMs })
    const inside = () => attack(cache, turnMs, signal, counts)
    const none = async () => ({ asked: 0, loaded: 0 })
    const ids = zipfIds(idsInTurn)
    let next = 0
    const nextId = (): number => ids[next++ % ids.length] as number
    const rounds: Turn[][] = []
    // The first turns are to warm up.
    for (let turn = -1; turn < Math.max(leastTurns, Math.round(turns * scale)); turn++) {
      const round: Turn[] = []
      for (const how of [none, elsewhere, inside])
        round.push(await turnOf(cache, nextId, how, signal))
      if (turn >= 0) rounds.push(round)
    }
    return rowsOf(rounds)
  } finally {
    await other.kill()
    await cache.close()
  }
}

interface Turn extends Attack {
  readonly p99Ms: number
}

function rowsOf(rounds: readonly (readonly Turn[])[]): readonly Row[] {
  const attacks = rounds.flatMap((round) => round.slice(1))
  const sum = (of: 'asked' | 'loaded'): number => attacks.reduce((all, one) => all + one[of], 0)
  const shares = attacks.map(({ asked, loaded }) => loaded / asked)
  const p99s = (nth: 1 | 2) =>
    rounds.map((round) => ({
      oursMs: (round[nth] as Turn).p99Ms,
      bareMs: (round[0] as Turn).p99Ms,
    }))
  return [
    measuredRow('attack.loads', sum('loaded') / sum('asked'), shares),
    ratioRow('attack.p99', p99s(1), 1),
    ratioRow('attack.p99-inside', p99s(2), 1),
  ]
}

async function turnOf(
  cache: CityCache,
  nextId: () => number,
  how: () => Promise<Attack>,
  signal: AbortSignal,
): Promise<Turn> {
  const waits: number[] = []
  const pace = { perSecond: normalPerSecond, forMs: turnMs, signal }
  const reading = openLoop(pace, async (dueAtMs) => {
    const city = await cache.city.get(nextId()).catch(() => undefined)
    // Who has no answer has waited for ever.
    waits.push(city ? performance.now() - dueAtMs : Number.POSITIVE_INFINITY)
  })
  const [{ asked, loaded }] = await Promise.all([how(), reading])
  return { asked, loaded, p99Ms: quantile(waits, 0.99) }
}
