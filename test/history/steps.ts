/**
 * The numbered steps of a write (DESIGN §5) and of the relay (§6), by what their process sends: so it
 * can be stopped or killed just before one, or when it has been done and its answer has not arrived.
 */
import { readScripts } from '../../src/redis/scripts.ts'
import type { Onward, Sent } from '../support/tcp-proxy.ts'
import type { Seat, ServiceName } from './crew.ts'

export interface Step {
  readonly name: string
  readonly service: ServiceName
  readonly sent: Sent
  /** What has to be sent before, for a step that looks like another. */
  readonly later?: Omit<Step, 'name'>
}

const { acquire, barrier, fill, invalidate } = readScripts()

const told = { service: 'redis', sent: invalidate.sha } as const
/** A request of KafkaJS begins with its length, and the number 0 is that of a produce. */
const isProduce = (bytes: Buffer): boolean => bytes.length > 8 && bytes.readInt16BE(4) === 0
const published = { service: 'kafka', sent: isProduce } as const

const writeSteps: readonly Step[] = [
  { name: '1 begin', service: 'postgres', sent: 'BEGIN;' },
  { name: '1 statements', service: 'postgres', sent: 'insert into history_log' },
  { name: '1 outbox row', service: 'postgres', sent: 'lockstep.record(' },
  { name: '2 first delete', service: 'postgres', sent: 'lockstep.record(', later: told },
  { name: '3 commit', service: 'postgres', sent: 'commit; select' },
  { name: '4 second delete', service: 'postgres', sent: 'commit; select', later: told },
  { name: '5 mark', service: 'postgres', sent: 'update lockstep.outbox o' },
  { name: 'acquire', service: 'redis', sent: acquire.sha },
  { name: 'fill', service: 'redis', sent: fill.sha },
  { name: 'lockstep.invalidate', service: 'postgres', sent: 'select lockstep.invalidate(' },
]

const relaySteps: readonly Step[] = [
  { name: 'relay: lead', service: 'postgres', sent: 'as is_ours' },
  { name: 'relay: look', service: 'postgres', sent: 'json_build_object(' },
  { name: 'relay: claim', service: 'postgres', sent: 'with claimed as' },
  { name: 'relay: tell', service: 'postgres', sent: 'with claimed as', later: told },
  { name: 'relay: barrier', service: 'redis', sent: barrier.sha },
  { name: 'relay: repeat', service: 'postgres', sent: 'order by xid, row_id limit' },
  { name: 'relay: prune', service: 'postgres', sent: 'delete from lockstep.outbox' },
]

const kafkaWriteSteps: readonly Step[] = [{ name: '5 event', ...published }]
const kafkaRelaySteps: readonly Step[] = [
  { name: 'relay: publish', service: 'postgres', sent: 'with claimed as', later: published },
  {
    name: 'relay: barrier in Kafka',
    service: 'postgres',
    sent: 'json_build_object(',
    later: published,
  },
]

export function stepsOf(plane: 'outbox' | 'kafka'): {
  readonly write: readonly Step[]
  readonly relay: readonly Step[]
} {
  if (plane === 'outbox') return { write: writeSteps, relay: relaySteps }
  return {
    write: [...writeSteps, ...kafkaWriteSteps],
    relay: [...relaySteps, ...kafkaRelaySteps],
  }
}

type Side = 'before' | 'after'

/**
 * Calls `act` once, when somebody in one of the seats has come to the step. Resolves with whether that
 * happened before the signal.
 */
export async function atStep(
  seats: readonly Seat[],
  step: Omit<Step, 'name'>,
  side: Side,
  act: (seat: Seat) => Promise<Onward>,
  signal: AbortSignal,
): Promise<boolean> {
  const first = new AbortController()
  const over = first.signal
  const end = (): void => first.abort()
  signal.addEventListener('abort', end, { once: true })
  if (signal.aborted) end()
  let done: Promise<Onward> | undefined
  const once = async (seat: Seat): Promise<Onward> => {
    if (done || signal.aborted) return 'pass'
    done = act(seat)
    first.abort()
    return done
  }
  await Promise.all(
    seats.map(async (seat) => {
      const proxy = seat.proxies[step.service]
      if (step.later === undefined) {
        const last = side === 'before' ? { before: () => once(seat) } : { after: () => once(seat) }
        await proxy?.at(step.sent, last, over)
        return
      }
      const { later } = step
      let next: Promise<boolean> | undefined
      const arm = async (): Promise<Onward> => {
        next = atStep([seat], later, side, () => once(seat), over)
        return 'pass'
      }
      await proxy?.at(step.sent, { before: arm }, over)
      await next
    }),
  )
  signal.removeEventListener('abort', end)
  await done
  return done !== undefined
}
