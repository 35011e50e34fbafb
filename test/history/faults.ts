/** What is done to a history while it runs. Each fault ends with everything mended. */
import { randomBelow } from '../../src/demo/random.ts'
import type { TcpProxy } from '../support/tcp-proxy.ts'
import type { Crew, Member, Seat, ServiceName } from './crew.ts'
import { boundMs, retentionMs } from './crew.ts'
import type { Places } from './places.ts'
import type { Psql } from './psql.ts'
import type { Recording } from './recording.ts'
import { atStep, stepsOf } from './steps.ts'
import { limited } from './time.ts'

export interface Site {
  readonly places: Places
  readonly crew: Crew
  readonly recording: Recording
  readonly psql: Psql | undefined
  readonly random: () => number
  readonly signal: AbortSignal
  /** How long a broker stays away. */
  readonly brokerOutageMs: number
  /** Resolves early when the run is aborted. */
  pause(ms: number): Promise<void>
}

export interface Fault {
  /** Two of one service are not done at a time. */
  readonly service: ServiceName | 'process'
  run(site: Site): Promise<void>
}

const none = { kills: 0 }
const one = { kills: 1 }
const stepDeadlineMs = 2_000

const between = (least: number, most: number, random: () => number): number =>
  least + randomBelow(most - least, random)

const anyOf = <T>(some: readonly T[], random: () => number): T =>
  some[randomBelow(some.length, random)] as T

// ---------------------------------------------------------------- processes

/** Kills one of these at a step, or wherever it is when it doesn't come to it. */
export async function killAtStep(
  site: Site,
  seats: readonly Seat[],
  whose: 'write' | 'relay',
): Promise<void> {
  const { places, random, recording, signal } = site
  const step = anyOf(stepsOf(places.kafka ? 'kafka' : 'outbox')[whose], random)
  const side = anyOf(['before', 'after'] as const, random)
  const late = limited(signal, stepDeadlineMs)
  const kill = async (seat: Seat, at: string): Promise<void> => {
    const { member } = seat
    if (!member) return
    await recording.fault('sigkill', `process ${member.number} ${at}`, async () => {
      await seat.replace(member)
      return one
    })
  }
  const act = async (seat: Seat): Promise<'cut'> => {
    await kill(seat, `${side} ${step.name}`)
    return 'cut'
  }
  const wasThere = await atStep(seats, step, side, act, late.signal)
  late.clear()
  if (!wasThere && !signal.aborted) await kill(anyOf(seats, random), 'anywhere')
}

const killedRelay: Fault = {
  service: 'process',
  run: (site) => killAtStep(site, site.crew.seats, 'relay'),
}

export async function killPsql({ psql, recording, signal }: Site): Promise<void> {
  if (!psql?.isThere || signal.aborted) return
  await recording.fault('sigkill', 'psql', async () => (psql.kill() ? one : none))
}

async function stopFor(site: Site, member: Member, ms: number, at: string): Promise<void> {
  await site.recording.fault('sigstop', `process ${member.number} ${at}`, async () => {
    await member.stop()
    await site.pause(ms)
    member.goOn()
    return none
  })
}

const stopped = (least: number, most: number): Fault => ({
  service: 'process',
  run: async (site) => {
    const { member } = anyOf(site.crew.seats, site.random)
    if (member) await stopFor(site, member, between(least, most, site.random), 'anywhere')
  },
})

const stoppedAtStep = (whose: 'write' | 'relay'): Fault => ({
  service: 'process',
  run: async (site) => {
    const { crew, places, random, signal } = site
    const step = anyOf(stepsOf(places.kafka ? 'kafka' : 'outbox')[whose], random)
    const side = anyOf(['before', 'after'] as const, random)
    const late = limited(signal, stepDeadlineMs)
    const ms = between(boundMs / 2, 3 * boundMs, random)
    const act = async ({ member }: Seat): Promise<'pass'> => {
      if (member) await stopFor(site, member, ms, `${side} ${step.name}`)
      return 'pass'
    }
    await atStep(crew.seats, step, side, act, late.signal)
    late.clear()
  },
})

const steppedClock: Fault = {
  service: 'process',
  run: async ({ crew, pause, random, recording }) => {
    const { member } = anyOf(crew.seats, random)
    if (!member) return
    for (const ms of [3_600_000, -3_600_000, 0]) {
      await recording.fault('clock-step', `process ${member.number} by ${ms} ms`, async () => {
        // Whoever kills it meanwhile has ended this fault.
        await member.stepClock(ms).catch(() => {})
        return none
      })
      await pause(between(200, 600, random))
    }
  },
}

// ---------------------------------------------------------------- networks

const network = (
  fault: string,
  service: ServiceName,
  how: 'one' | 'all',
  breakIt: (proxy: TcpProxy, site: Site) => Promise<void> | void,
): Fault => ({
  service,
  run: async (site) => {
    const { crew, pause, random, recording } = site
    const seats = how === 'all' ? crew.seats : [anyOf(crew.seats, random)]
    const proxies = seats.flatMap(({ proxies }) => proxies[service] ?? [])
    if (proxies.length === 0) return
    const who = how === 'all' ? 'everybody' : `seat ${seats[0]?.index}`
    await recording.fault(fault, `${service} of ${who}`, async () => {
      await Promise.all(proxies.map((proxy) => breakIt(proxy, site)))
      await pause(between(300, 1_800, random))
      await Promise.all(proxies.map((proxy) => proxy.pass()))
      return none
    })
  },
})

const refused = (service: ServiceName, how: 'one' | 'all'): Fault =>
  network('proxy-refuse', service, how, (proxy) => proxy.refuse())
const reset = (service: ServiceName): Fault =>
  network('proxy-reset', service, 'one', (proxy) => proxy.reset())
const hung = (service: ServiceName, how: 'one' | 'all' = 'one'): Fault =>
  network('proxy-hang', service, how, (proxy) => proxy.hang())
const delayed = (service: ServiceName): Fault =>
  network('proxy-delay', service, 'all', (proxy, { random }) =>
    proxy.delay(between(5, 250, random)),
  )

/** Answers that end in the middle, some in a row. */
const cut = (service: ServiceName): Fault => ({
  service,
  run: async ({ crew, random, recording, signal }) => {
    const seat = anyOf(crew.seats, random)
    const proxy = seat.proxies[service]
    if (!proxy) return
    await recording.fault('proxy-cut', `${service} of seat ${seat.index}`, async () => {
      const late = limited(signal, stepDeadlineMs)
      for (let times = 6; times > 0; times--) {
        await proxy.at(() => true, { cutReplyAfterBytes: randomBelow(60, random) }, late.signal)
      }
      late.clear()
      return none
    })
  },
})

// ---------------------------------------------------------------- the deck

export const networkFaults: readonly Fault[] = [
  refused('redis', 'all'),
  refused('postgres', 'one'),
  reset('redis'),
  reset('postgres'),
  hung('redis'),
  hung('redis', 'all'),
  hung('postgres'),
  delayed('redis'),
  delayed('postgres'),
  cut('redis'),
  cut('postgres'),
]

export const kafkaNetworkFaults: readonly Fault[] = [
  refused('kafka', 'one'),
  reset('kafka'),
  hung('kafka'),
  hung('kafka', 'all'),
  delayed('kafka'),
  cut('kafka'),
]

export const processFaults: readonly Fault[] = [
  killedRelay,
  killedRelay,
  stopped(boundMs / 2, 2 * boundMs),
  stopped(retentionMs + boundMs, retentionMs + 3 * boundMs),
  stoppedAtStep('write'),
  stoppedAtStep('write'),
  stoppedAtStep('relay'),
  steppedClock,
]
