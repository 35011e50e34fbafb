/**
 * Builds of a Bloom filter: what one takes while ids come and go, and that it lacks no id whatever
 * happens meanwhile: Redis loses all, a process comes, the one that builds is killed.
 */
import { bytesOf } from '../model/bloom.ts'
import { wantedRate } from './bloom.ts'
import {
  type Builder,
  entityName,
  onSite,
  type ScaledEffort,
  type Site,
  until,
} from './bloom-site.ts'
import type { Word } from './bloom-worker.ts'
import { measuredRow, type Row, valueRow } from './row.ts'
import type { Stage } from './stage.ts'

const rebuilds = 2
/** Of the million. */
const timesAsLong = 10
const askedLong = 1_000_000
/** Shares of the ids that are scanned when it happens. */
const flushedAt = 0.3
const killedAt = 0.5
/** Below it a build has no checkpoint before its end, and what happens to it happens as it begins. */
const leastInPieces = 300_000

interface Took {
  /** µs an id. */
  readonly time: number
  readonly cpu: number
}

export function measureBuilds(stage: Stage, effort: ScaledEffort): Promise<readonly Row[]> {
  const { signal } = effort
  return onSite(stage, effort, 1, async (site) => {
    const negatives: number[] = []
    const took: Took[] = []
    const builder = await site.open()
    await ready(site, signal)
    negatives.push(await site.falseNegatives(builder))
    for (let round = 0; round < rebuilds; round++) {
      took.push(await site.storm(() => rebuild(site, builder, signal)))
      negatives.push(await site.falseNegatives(builder))
    }
    await site.storm(() => flushedMeanwhile(site, builder, signal))
    negatives.push(await site.falseNegatives(builder))
    const killed = await site.storm(() => killedMeanwhile(site, builder, signal))
    negatives.push(await site.falseNegatives(killed.successor))
    return [
      valueRow('bloom.false-negatives', negatives, 'largest'),
      valueRow(
        'bloom.rebuild',
        took.map(({ time }) => time),
        'median',
      ),
      valueRow(
        'bloom.rebuild-cpu',
        took.map(({ cpu }) => cpu),
        'median',
      ),
      valueRow('bloom.killed.kept', [killed.kept], 'smallest'),
    ]
  })
}

export function measureLongBuild(stage: Stage, effort: ScaledEffort): Promise<readonly Row[]> {
  const { signal } = effort
  return onSite(stage, effort, timesAsLong, async (site) => {
    const builder = await site.open()
    const current = await ready(site, signal)
    const rate = (await site.rateOf(askedLong * Math.min(1, effort.scale))) / wantedRate
    const negatives = [await site.falseNegatives(builder)]
    const took = await site.storm(() => rebuild(site, builder, signal))
    negatives.push(await site.falseNegatives(builder))
    return [
      valueRow('bloom.long.false-negatives', negatives, 'largest'),
      measuredRow('bloom.long.rate-off', Math.abs(rate - 1) * 100, [Math.abs(rate - 1) * 100]),
      valueRow('bloom.long.bits', [(bytesOf(current) * 8) / site.count], 'median'),
      valueRow('bloom.long.rebuild', [took.time], 'median'),
      valueRow('bloom.long.rebuild-cpu', [took.cpu], 'median'),
    ]
  })
}

/** One answers, and none is being built. */
function ready({ status }: Site, signal: AbortSignal) {
  return until('a build', signal, async () => {
    const now = await status()
    return now?.building || now?.isRequested ? undefined : now?.current
  })
}

async function begun({ words }: Builder, site: Site, signal: AbortSignal): Promise<Word> {
  words.length = 0
  await site.filters.request(entityName)
  return until('the beginning of a build', signal, () =>
    words.find(({ state }) => state === 'building'),
  )
}

async function rebuild(site: Site, builder: Builder, signal: AbortSignal): Promise<Took> {
  const first = await begun(builder, site, signal)
  const last = await until('a build', signal, () =>
    builder.words.find(({ state }) => state === 'ready'),
  )
  return {
    time: ((last.atMs - first.atMs) / site.count) * 1_000,
    cpu: ((last.cpuMs - first.cpuMs) / site.count) * 1_000,
  }
}

/** Resolves when so much of it is scanned, or it has ended already. */
async function scanned(site: Site, share: number, { words }: Builder, signal: AbortSignal) {
  if (site.count < leastInPieces) return
  await until('a scan', signal, async () => {
    const building = (await site.status())?.building
    const isOver = words.some(({ state }) => state === 'ready')
    return isOver || (building?.scanned ?? 0) >= share * site.count || undefined
  })
}

async function flushedMeanwhile(site: Site, builder: Builder, signal: AbortSignal): Promise<void> {
  await begun(builder, site, signal)
  await scanned(site, flushedAt, builder, signal)
  await site.flush()
  await ready(site, signal)
}

interface Killed {
  /** Who has gone on with it. */
  readonly successor: Builder
  /** Percent of the ids that it need not scan again. */
  readonly kept: number
}

async function killedMeanwhile(site: Site, builder: Builder, signal: AbortSignal): Promise<Killed> {
  await begun(builder, site, signal)
  const successor = await site.open()
  await scanned(site, killedAt, builder, signal)
  await builder.child.kill()
  const left = (await site.status())?.building
  const { generation } = await ready(site, signal)
  const isSame = left !== undefined && left.generation === generation
  return { successor, kept: isSame ? (left.scanned / site.count) * 100 : 0 }
}
