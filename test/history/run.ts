/**
 * A history: real processes read and write through real servers, faults come from a seed, and what
 * everybody was told goes to a file that `check.ts` judges. Needs what is built
 * (`node scripts/build.mjs`), and runs inside a test, which cleans up behind it.
 */
import { seededRandom } from '../../src/demo/random.ts'
import { ownFolder } from '../support/servers.ts'
import { boundMs, type Crew, openCrew, type Seat } from './crew.ts'
import { endOf } from './ending.ts'
import { killAtStep, killPsql, type Site } from './faults.ts'
import { openPlaces, type PlaneName } from './places.ts'
import { startPsql } from './psql.ts'
import { openRecording } from './recording.ts'
import { runSchedule } from './schedule.ts'
import { limited, pause } from './time.ts'

export interface HistoryOptions {
  readonly seconds: number
  readonly seed: number
  /** Where it goes. */
  readonly file: string
  readonly plane: PlaneName
  /** Ends it at once; it rejects. */
  readonly signal: AbortSignal
  readonly log?: (line: string) => void
}

export interface RealRun {
  readonly writes: number
  readonly reads: number
  readonly kills: number
  /** Their kinds. */
  readonly faults: readonly string[]
  readonly file: string
}

const seatCount = 5
/** Those that are killed again and again; the others live long enough to be stopped and cut off. */
const mortalSeats = 2
const quietDeadlineMs = 60_000

export async function runHistory(options: HistoryOptions): Promise<RealRun> {
  const { file, log = () => {}, plane, seconds, seed, signal } = options
  const places = await openPlaces(plane)
  const recording = openRecording(ownFolder('lockstep-history-'))
  const random = seededRandom(seed)
  const own = (): (() => number) => seededRandom(Math.floor(random() * 2 ** 32))
  const crew = await openCrew({ places, recording, seats: seatCount, random: own() })
  const foreignIds = Array.from({ length: places.ids }, (_, at) => at + 1).filter(
    (id) => id % 3 === 2,
  )
  const psql = startPsql({ url: places.postgres.url, recording, random: own(), foreignIds })
  const over = limited(signal, seconds * 1_000).signal
  const site = {
    places,
    crew,
    recording,
    psql,
    signal: over,
    pause: (ms: number) => pause(ms, over),
  }
  const brokerOutageMs = Math.min(60_000, seconds * 100)
  log(`${seatCount} processes run for ${seconds} s on the ${plane} plane`)
  await Promise.all([
    runSchedule({ ...site, brokerOutageMs, random: own() }, { seconds, log }),
    ...crew.seats
      .slice(-mortalSeats)
      .map((seat) => killAgainAndAgain({ ...site, brokerOutageMs, random: own() }, seat)),
    killPsqlNowAndThen({ ...site, brokerOutageMs, random: own() }),
  ])
  signal.throwIfAborted()
  log('everything is mended; all come to rest')
  const members = await crew.settle()
  mustStand(crew)
  await Promise.all([...members.map((member) => member.rest()), psql?.stop()])
  const end = await endOf({
    ...{ ids: places.ids, recording, boundMs, deadlineMs: quietDeadlineMs, signal },
    ask: (sql) => places.ask(sql),
    waiting: `not (${places.kafka ? 'applied and published' : 'applied'})`,
    left: members.map((member) => () => member.left()),
  })
  await Promise.all(members.map((member) => member.close()))
  mustStand(crew)
  const header = { kind: 'history', format: 1, seed, epoch: String(recording.epoch) } as const
  const about = { boundMs, plane, ids: places.ids, foreignWrites: foreignIds }
  const counts = await recording.join(file, { ...header, ...about }, end)
  return { ...counts, kills: recording.kills, faults: [...recording.faults].sort(), file }
}

/** A process that ended by itself is a fault of its own. */
function mustStand({ fallen }: Crew): void {
  if (fallen.length > 0) throw new Error(fallen.join('\n'))
}

/** It works for a while each time, mostly long enough to come to trust its L1. */
async function killAgainAndAgain(site: Site, seat: Seat): Promise<void> {
  while (!site.signal.aborted) {
    const { member } = seat
    if (member) {
      await site.pause(100 + site.random() * 900)
      await killAtStep(site, [seat], 'write')
    } else await site.pause(20)
  }
}

async function killPsqlNowAndThen(site: Site): Promise<void> {
  while (!site.signal.aborted) {
    await site.pause(1_000 + site.random() * 3_000)
    await killPsql(site)
  }
}
