/** Which fault comes when: from the seed, each kind once before any comes a second time. */
import { randomBelow } from '../../src/demo/random.ts'
import { until } from '../support/until.ts'
import {
  type Fault,
  kafkaNetworkFaults,
  networkFaults,
  processFaults,
  type Site,
} from './faults.ts'
import { brokerFaults, serverFaults } from './server-faults.ts'

export interface ScheduleOptions {
  readonly seconds: number
  readonly log: (line: string) => void
}

const shareOfPairs = 0.25
/** Of a run, which a broker that stops for long shall not fill. */
const brokerEverySeconds = 100
const wellDeadlineMs = 60_000

/** Until the site's signal. Each fault, or two of them, ends before the next begins. */
export async function runSchedule(site: Site, { log }: ScheduleOptions): Promise<void> {
  const { places, random, recording, signal } = site
  const deck = [...processFaults, ...networkFaults, ...serverFaults]
  if (places.kafka) deck.push(...kafkaNetworkFaults)
  let left: Fault[] = []
  let brokers: Fault[] = []
  let brokerAtMs = performance.now()
  const draw = (isFit: (fault: Fault) => boolean): Fault => {
    if (!left.some(isFit)) left = [...left, ...shuffled(deck, random)]
    return left.splice(left.findIndex(isFit), 1)[0] as Fault
  }
  while (!signal.aborted) {
    const first = draw(() => true)
    const faults = [first]
    if (random() < shareOfPairs) faults.push(draw(({ service }) => service !== first.service))
    if (places.kafka && performance.now() >= brokerAtMs) {
      if (brokers.length === 0) brokers = shuffled(brokerFaults, random)
      faults.splice(0, faults.length, brokers.pop() as Fault)
      brokerAtMs = performance.now() + brokerEverySeconds * 1_000
    }
    await Promise.all(faults.map((fault) => fault.run(site)))
    log(`${recording.kills} kills, ${recording.faults.size} kinds of faults`)
    await untilWell(site)
    await site.pause(randomBelow(300, random))
  }
}

/** Those that are not just being killed serve proven values again. */
async function untilWell({ crew, signal }: Site): Promise<void> {
  await until(
    'most processes are well again',
    async () => {
      if (signal.aborted) return true
      const well = await Promise.all(crew.seats.map(({ member }) => member?.isWell() ?? false))
      return well.filter((one) => one).length >= crew.seats.length - 2
    },
    wellDeadlineMs,
  )
}

function shuffled<T>(some: readonly T[], random: () => number): T[] {
  const all = [...some]
  for (let last = all.length - 1; last > 0; last--) {
    const other = randomBelow(last + 1, random)
    ;[all[last], all[other]] = [all[other] as T, all[last] as T]
  }
  return all
}
