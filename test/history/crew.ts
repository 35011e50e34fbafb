/**
 * The processes of a history. Each place has proxies of its own before every service; whoever is
 * killed there is followed by a process that already has its code loaded.
 */
import { fileURLToPath } from 'node:url'
import { randomBelow } from '../../src/demo/random.ts'
import { type Forked, forkOne } from '../support/forked.ts'
import { stateOf } from '../support/instance.ts'
import { openTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'
import { until } from '../support/until.ts'
import type { LeftLine } from './format.ts'
import type { Places } from './places.ts'
import { wellId } from './places.ts'
import type { Recording } from './recording.ts'

const script = fileURLToPath(new URL('./children/instance.mjs', import.meta.url))

export const boundMs = 1_000
/** Short, so that a process that is stopped for some seconds sleeps through both. */
export const retentionMs = 4_000
/** Longer than by default where a busy machine would make every call too late. */
const timing = {
  redisDeadline: '500ms',
  loadDeadline: '1s',
  writeDeadline: '1s',
  stalenessBound: `${boundMs}ms`,
  outboxRetention: `${retentionMs}ms`,
  tombstoneRetention: `${retentionMs}ms`,
}

/** One process, from its start to its end. */
export interface Member {
  readonly number: number
  isWell(): Promise<boolean>
  left(): Promise<readonly LeftLine[]>
  /** Its wall clock is so much off from now on. */
  stepClock(ms: number): Promise<void>
  /** Ends its reads and writes. */
  rest(): Promise<void>
  /** Closes its cache; resolves when it has ended. */
  close(): Promise<void>
  stop(): Promise<void>
  goOn(): void
  kill(): Promise<void>
}

export type ServiceName = 'postgres' | 'redis' | 'kafka'

export interface Seat {
  readonly index: number
  readonly proxies: Readonly<Record<'postgres' | 'redis', TcpProxy>> & {
    readonly kafka?: TcpProxy | undefined
  }
  /** Who sits there and works; `undefined` while somebody new begins. */
  readonly member: Member | undefined
  /** Kills who sits there, if it is still that one, and seats a new one. */
  replace(member: Member): Promise<void>
}

export interface Crew {
  readonly seats: readonly Seat[]
  /** Whoever ended without being killed, and why. */
  readonly fallen: readonly string[]
  /** No more replacements; everybody who is seated works by then. */
  settle(): Promise<readonly Member[]>
}

export interface CrewOptions {
  readonly places: Places
  readonly recording: Recording
  readonly seats: number
  readonly random: () => number
}

export async function openCrew(options: CrewOptions): Promise<Crew> {
  const { places, recording, random } = options
  const fallen: string[] = []
  const underWay = new Set<Promise<void>>()
  let numbers = 0
  let spare = startProcess(fallen)

  const seatNew = async (seat: OpenSeat): Promise<void> => {
    const child = spare
    spare = startProcess(fallen)
    const number = ++numbers
    const { proxies } = seat
    await child.here
    // The only thing that it says by itself.
    child.calls.onWord = (ticket) => {
      const others = seats.flatMap(({ member }) => (member ? [member] : []))
      others[randomBelow(others.length, random)]?.give(ticket)
    }
    await child.calls.ask('open', {
      process: number,
      ...{ seed: randomBelow(2 ** 31, random), ids: places.ids, wellId, timing },
      ...{ namespace: places.namespace, epoch: String(recording.epoch) },
      file: recording.fileOf(number),
      postgres: proxies.postgres.through(places.postgres.url),
      redis: proxies.redis.through(places.redis[0].url),
      kafka: places.kafka && {
        brokers: [...places.kafka.server.brokers],
        ...{ topic: places.kafka.topic, port: proxies.kafka?.port },
      },
      clockOffsetMs: seat.clockOffsetMs,
    })
    seat.member = memberOf(number, child)
  }
  const seats: OpenSeat[] = []
  for (let index = 0; index < options.seats; index++) {
    const seat: OpenSeat = {
      index,
      proxies: await openProxies(places),
      member: undefined,
      // One of them has never had the right time.
      clockOffsetMs: index === 0 ? 3_600_000 : 0,
      replace: async (member) => {
        if (seat.member !== member) return
        seat.member = undefined
        await member.kill()
        const seating = seatNew(seat).finally(() => underWay.delete(seating))
        // A crew that can't be seated is told of by whoever settles it.
        seating.catch((error: unknown) => fallen.push(String(error)))
        underWay.add(seating)
      },
    }
    seats.push(seat)
  }
  for (const seat of seats) await seatNew(seat)
  return {
    seats,
    fallen,
    settle: async () => {
      await Promise.allSettled(underWay)
      return seats.flatMap(({ member }) => (member ? [member] : []))
    },
  }
}

interface OpenMember extends Member {
  give(ticket: unknown): void
}

type OpenSeat = Omit<Seat, 'member'> & {
  member: OpenMember | undefined
  readonly clockOffsetMs: number
}

async function openProxies({ kafka, postgres, redis }: Places): Promise<Seat['proxies']> {
  return {
    postgres: await openTcpProxy(postgres.url),
    redis: await openTcpProxy(redis[0].url),
    kafka: kafka && (await openTcpProxy(`kafka://${kafka.server.brokers[0]}`)),
  }
}

// ---------------------------------------------------------------- one process

interface Process extends Omit<Forked, 'exited'> {
  readonly exited: Promise<unknown>
  /** It may end from here on. */
  expectEnd(): void
  kill(): Promise<void>
}

function startProcess(fallen: string[]): Process {
  const forked = forkOne(script, ['ignore', 'ignore', 'pipe', 'ipc'])
  const { child } = forked
  let words = ''
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    words = (words + text).slice(-4_000)
  })
  let mayEnd = false
  const exited = forked.exited.then((how) => {
    if (!mayEnd) fallen.push(`a process ended with ${how}: ${words}`)
  })
  return {
    ...{ ...forked, exited },
    expectEnd: () => {
      mayEnd = true
    },
    kill: async () => {
      mayEnd = true
      child.kill('SIGKILL')
      await exited
    },
  }
}

function memberOf(number: number, { calls, child, exited, expectEnd, kill }: Process): OpenMember {
  const { ask } = calls
  return {
    number,
    kill,
    isWell: () => ask<boolean>('isWell').catch(() => false),
    left: () => ask('left'),
    stepClock: (ms) => ask('step', ms),
    rest: () => ask('rest'),
    close: async () => {
      expectEnd()
      await ask('close')
      await exited
    },
    give: (ticket) => child.send({ call: 0, act: 'ticket', argument: ticket }, () => {}),
    stop: async () => {
      child.kill('SIGSTOP')
      const isStopped = (): boolean =>
        child.signalCode !== null || stateOf(child.pid as number) === 'T'
      await until('the process is stopped', isStopped)
    },
    goOn: () => void child.kill('SIGCONT'),
  }
}
