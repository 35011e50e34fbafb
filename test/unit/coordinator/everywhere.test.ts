/** A write that waits for all instances: never less than it promises, and never longer than B. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Everywhere } from '../../../src/coordinator/everywhere.ts'
import { Probes } from '../../../src/coordinator/probes.ts'
import { LockstepError } from '../../../src/model/errors.ts'
import { silent } from '../../../src/model/log.ts'
import type { Instances, Probe } from '../../../src/model/outbox-port.ts'
import type { Incarnation, Snapshot, Xid } from '../../../src/model/snapshot.ts'
import { formatTicket, type Ticket } from '../../../src/model/ticket.ts'
import { type Deferred, deferred } from '../../../src/resilience/deadline.ts'
import { VirtualClock } from '../../support/clock.ts'

const boundMs = 1_000
const oneLife = '0000000000000001' as Incarnation
const nextLife = '0000000000000002' as Incarnation

let clock: VirtualClock
let closing: AbortController
let probes: Probes
let calls: string[]
/** Who hasn't acted on the write yet. */
let missing: number
let join: () => Promise<void>
let askAll: () => Promise<void>
let acknowledge: () => Promise<void>
let isEverywhere: (signal: AbortSignal) => Promise<boolean>
let everywhere: Everywhere
let startedAtMs: number

const at = (xid: number, incarnation = oneLife): Snapshot => ({
  incarnation,
  xmin: xid as Xid,
  xmax: xid as Xid,
  xip: [],
})
const ticket: Ticket = formatTicket([{ incarnation: oneLife, xid: 7 as Xid }])
const probe = (snapshot: Snapshot, isAwaited = false): Probe => ({
  snapshot,
  isAwaited,
  isRelayDue: false,
})
const never = new AbortController().signal

beforeEach(async () => {
  clock = new VirtualClock()
  closing = new AbortController()
  probes = new Probes(boundMs)
  calls = []
  missing = 1
  join = askAll = acknowledge = async () => {}
  isEverywhere = async () => missing === 0
  const instances: Instances = {
    join: async () => {
      calls.push('join')
      await join()
    },
    leave: async () => void calls.push('leave'),
    askAll: async () => {
      calls.push('ask')
      await askAll()
    },
    acknowledge: async (_, { xmax }) => {
      calls.push(`acknowledge ${xmax}`)
      await acknowledge()
    },
    isEverywhere: (_, signal) => {
      calls.push('look')
      return isEverywhere(signal)
    },
  }
  everywhere = new Everywhere({
    ...{ instances, instance: 'this one', probes, clock, boundMs },
    log: silent,
    closing: closing.signal,
  })
  probes.add({ monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }, at(5))
  await clock.advance(10 * boundMs)
  probes.add({ monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }, at(6))
  startedAtMs = clock.monotonicMs()
})

afterEach(async () => {
  closing.abort(new LockstepError('CLOSED', 'the cache is closed'))
  await clock.settle()
  expect(clock.timers).toBe(0)
})

interface Waiting {
  /** After how many milliseconds it had an outcome, and which. */
  outcome: string | undefined
}

function wait(written: Promise<{ ticket: Ticket }> = Promise.resolve({ ticket })): Waiting {
  const waiting: Waiting = { outcome: undefined }
  const ended = (how: string) => {
    waiting.outcome = `${how} after ${clock.monotonicMs() - startedAtMs}`
  }
  everywhere.after(written).then(
    () => ended('returned'),
    (error: { code?: string }) => ended(String(error.code)),
  )
  return waiting
}

test('it returns as soon as all have acted on the write, and not before', async () => {
  const waiting = wait()
  await clock.advance(300)
  expect(waiting.outcome).toBeUndefined()
  missing = 0
  await clock.advance(20)
  expect(waiting.outcome).toBe('returned after 310')
  expect(calls.slice(0, 2)).toEqual(['ask', 'look'])
})

test('an instance that says nothing has lost its trust after B: then it returns', async () => {
  const waiting = wait()
  await clock.advance(boundMs - 1)
  expect(waiting.outcome).toBeUndefined()
  await clock.advance(1)
  expect(waiting.outcome).toBe(`returned after ${boundMs}`)
})

test.each<[what: string, breaks: () => void]>([
  ['nobody can be asked', () => (askAll = () => Promise.reject(new Error('refused')))],
  ['nobody answers', () => (askAll = () => new Promise(() => {}))],
  ['nobody can say who has acted', () => (isEverywhere = () => Promise.reject(new Error('no')))],
  ['that question is not answered', () => (isEverywhere = () => new Promise(() => {}))],
])('it returns after B, no sooner and no later, where %s', async (_, breaks) => {
  breaks()
  const waiting = wait()
  await clock.advance(boundMs - 1)
  expect(waiting.outcome).toBeUndefined()
  await clock.advance(1)
  expect(waiting.outcome).toBe(`returned after ${boundMs}`)
})

test('in a new incarnation it waits for B, whoever is known to the database', async () => {
  missing = 0
  const t0 = { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() }
  probes.add(t0, at(3, nextLife))
  const waiting = wait()
  await clock.advance(boundMs - 1)
  expect(waiting.outcome).toBeUndefined()
  await clock.advance(1)
  expect(waiting.outcome).toBe(`returned after ${boundMs}`)
})

test('B is counted from when the write has ended', async () => {
  const written: Deferred<{ ticket: Ticket }> = deferred()
  const waiting = wait(written.promise)
  await clock.advance(400)
  expect(calls).toEqual([])
  written.resolve({ ticket })
  await clock.advance(boundMs)
  expect(waiting.outcome).toBe(`returned after ${400 + boundMs}`)
})

test('a write that fails fails at once', async () => {
  const waiting = wait(Promise.reject(new LockstepError('WRITE_TIMEOUT', 'too long')))
  await clock.advance(0)
  expect(waiting.outcome).toBe('WRITE_TIMEOUT after 0')
  expect(calls).toEqual([])
})

test('whoever closes waits for it, and when it is aborted it does not say that all have acted', async () => {
  const waiting = wait()
  let isDrained = false
  void everywhere.drain().then(() => {
    isDrained = true
  })
  await clock.advance(100)
  expect(isDrained).toBe(false)
  closing.abort(new LockstepError('CLOSED', 'the cache is closed'))
  await clock.settle()
  expect({ ...waiting, isDrained }).toEqual({ outcome: 'CLOSED after 100', isDrained: true })
})

test('an instance joins before its first probe, and again every while', async () => {
  await everywhere.join(never)
  await clock.advance(9_999)
  await everywhere.join(never)
  expect(calls).toEqual(['join'])
  await clock.advance(1)
  await everywhere.join(never)
  expect(calls).toEqual(['join', 'join'])
})

test('after a suspend, which only the wall clock sees, it joins again', async () => {
  await everywhere.join(never)
  clock.stepWall(20_000)
  await everywhere.join(never)
  expect(calls).toEqual(['join', 'join'])
})

test('one that could not join has not joined', async () => {
  join = () => Promise.reject(new Error('refused'))
  await expect(everywhere.join(never)).rejects.toThrow('refused')
  join = async () => {}
  await everywhere.join(never)
  expect(calls).toEqual(['join', 'join'])
})

test('in a new incarnation nothing is proven before it has joined again: the crash may have forgotten it', async () => {
  await everywhere.join(never)
  expect(everywhere.probed(probe(at(5)))).toBe(true)
  expect(everywhere.probed(probe(at(3, nextLife)))).toBe(false)
  await everywhere.join(never)
  expect(everywhere.probed(probe(at(3, nextLife)))).toBe(true)
  expect(calls).toEqual(['join', 'join'])
})

test('it acknowledges what it has acted on while somebody waits, the newest first, one at a time', async () => {
  everywhere.proven(at(5))
  expect(calls).toEqual([])
  everywhere.probed(probe(at(6), true))
  const first = deferred<void>()
  acknowledge = () => first.promise
  everywhere.proven(at(6))
  everywhere.proven(at(7))
  everywhere.proven(at(8))
  expect(calls).toEqual(['acknowledge 6'])
  first.resolve()
  await clock.settle()
  expect(calls).toEqual(['acknowledge 6', 'acknowledge 8'])
  everywhere.probed(probe(at(9)))
  everywhere.proven(at(9))
  await clock.settle()
  expect(calls).toHaveLength(2)
})

test('an acknowledgement that fails or hangs keeps the next one from nothing', async () => {
  everywhere.probed(probe(at(6), true))
  acknowledge = () => Promise.reject(new Error('refused'))
  everywhere.proven(at(6))
  await clock.settle()
  acknowledge = () => new Promise(() => {})
  everywhere.proven(at(7))
  await clock.advance(boundMs)
  acknowledge = async () => {}
  everywhere.proven(at(8))
  await clock.settle()
  expect(calls).toEqual(['acknowledge 6', 'acknowledge 7', 'acknowledge 8'])
})

test('it leaves with a word, if it had come with one', async () => {
  await everywhere.leave()
  expect(calls).toEqual([])
  await everywhere.join(never)
  await everywhere.leave()
  expect(calls).toEqual(['join', 'leave'])
})
