/**
 * Reads and writes of a few keys by several caches while something breaks, judged by what was
 * promised: I3 for what is proven, I4 for strong reads, I10 for tickets, I7 for whether they were
 * answered at all.
 */
import { bump, type ItemWorldCache, type World } from './world.ts'

interface Written {
  readonly version: number
  readonly returnedAtMs: number
  readonly fenced: boolean
  readonly ticket: string
}

export interface WorkloadOptions {
  readonly boundMs?: number
  /** What a strong read is held to; `bounded`: Redis forgets in this test. */
  readonly strong?: 'linearizable' | 'bounded'
  readonly ids?: number
}

export interface Workload {
  /** What was not as promised; at most a few, in words. */
  readonly wrong: readonly string[]
  readonly failedReads: readonly string[]
  readonly failedWrites: readonly string[]
  readonly answers: number
  readonly writes: number
  /** Answers from L1 since the last time that somebody asked. */
  takeL1Answers(): number
  stop(): Promise<void>
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export function startWorkload(
  world: World,
  caches: readonly ItemWorldCache[],
  { boundMs = 1_000, strong = 'linearizable', ids = 4 }: WorkloadOptions = {},
): Workload {
  const wrong: string[] = []
  const failedReads: string[] = []
  const failedWrites: string[] = []
  const written = new Map<number, Written[]>()
  let [answers, writes, l1Answers] = [0, 0, 0]
  let isRunning = true
  const random = (count: number): number => Math.floor(Math.random() * count)
  const anyOf = <T>(some: readonly T[]): T => some[random(some.length)] as T

  async function writeOne(cache: ItemWorldCache): Promise<void> {
    const id = 1 + random(ids)
    try {
      const { ticket, value, fenced } = await cache.item.write(id, (tx) =>
        bump(tx, world.table, id),
      )
      const version = value[0]?.version ?? 0
      const of = written.get(id) ?? []
      of.push({ version, ticket, fenced, returnedAtMs: performance.now() })
      written.set(id, of)
      writes++
    } catch (error) {
      failedWrites.push(String(error))
    }
    await pause(random(20))
  }

  async function readOne(cache: ItemWorldCache): Promise<void> {
    const id = 1 + random(ids)
    const known = written.get(id) ?? []
    const beganAtMs = performance.now()
    const kind = random(4)
    const ticketed = kind === 0 && known.length > 0 ? anyOf(known.slice(-20)) : undefined
    const isStrong = kind === 1
    const older = known.filter(({ returnedAtMs }) => returnedAtMs < beganAtMs - boundMs)
    const least = (some: readonly Written[]): number =>
      some.reduce((most, { version }) => Math.max(most, version), 0)
    const due = ticketed
      ? ticketed.version
      : isStrong && strong === 'linearizable'
        ? least([...known.filter(({ fenced }) => fenced), ...older])
        : least(older)
    try {
      const request = ticketed
        ? { ticket: ticketed.ticket }
        : isStrong
          ? { consistency: 'strong' as const }
          : {}
      const { value, tier, proven } = await cache.item.getEntry(id, request)
      answers++
      if (tier === 'l1') l1Answers++
      const isHeldTo = proven || ticketed !== undefined || isStrong
      const seen = value?.version ?? -1
      if (isHeldTo && seen < due && wrong.length < 20) {
        const what = ticketed ? 'ticketed' : isStrong ? 'strong' : 'bounded'
        const took = Math.round(performance.now() - beganAtMs)
        const late = known.find(({ version }) => version > seen)
        const age = Math.round(beganAtMs - (late?.returnedAtMs ?? Number.NaN))
        wrong.push(
          `${what} read of ${id} from ${tier}, proven ${proven}: ${seen}, ${due} was due; it misses a write of ${age} ms before; it took ${took} ms`,
        )
      }
    } catch (error) {
      failedReads.push(`${isStrong ? 'strong ' : ''}${String(error)}`)
      await pause(5)
    }
    if (random(8) === 0) await pause(1)
  }

  const loop = async (act: () => Promise<void>): Promise<void> => {
    while (isRunning) await act()
  }
  const loops = caches.flatMap((cache) => [
    loop(() => writeOne(cache)),
    ...Array.from({ length: 2 }, () => loop(() => readOne(cache))),
  ])
  return {
    wrong,
    failedReads,
    failedWrites,
    get answers() {
      return answers
    },
    get writes() {
      return writes
    },
    takeL1Answers: () => {
      const taken = l1Answers
      l1Answers = 0
      return taken
    },
    stop: async () => {
      isRunning = false
      await Promise.all(loops)
    },
  }
}
