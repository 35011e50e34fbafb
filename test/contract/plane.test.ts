/**
 * What every durable plane promises (DESIGN §6), held on each of them: an instance hears of every
 * write that has committed at least once, and of all that a snapshot sees before that is proven;
 * after a gap it is told so, and nothing of before proves anything.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { logDestination } from '../../src/coordinator/destinations.ts'
import { type CommittedWrite, Finisher } from '../../src/coordinator/finisher.ts'
import { LogPlane } from '../../src/coordinator/log-plane.ts'
import type { Plane, PlaneListener, PlaneOptions } from '../../src/coordinator/plane.ts'
import { Relay } from '../../src/coordinator/relay.ts'
import { Tail } from '../../src/coordinator/tail.ts'
import type { Log } from '../../src/model/bus-ports.ts'
import type { Reading } from '../../src/model/clock.ts'
import { silent } from '../../src/model/log.ts'
import { covers, type Snapshot, visible, type WriteId, type Xid } from '../../src/model/snapshot.ts'
import { MemoryTopic, memoryLog } from '../../src/testing/memory-log.ts'
import { VirtualClock, watch } from '../support/clock.ts'
import { MemoryDatabase } from '../support/ports.ts'

const pollIntervalMs = 200
const boundMs = 1_000
const retentionMs = 5_000

/** One instance: its plane, and what that told it, in order. */
class Instance implements PlaneListener {
  readonly heard: (
    | {
        readonly kind: 'told'
        readonly write: WriteId
        readonly entity: string
        readonly ids: readonly string[]
      }
    | { readonly kind: 'proven'; readonly t0: Reading; readonly snapshot: Snapshot }
    | { readonly kind: 'lost'; readonly reason: string }
  )[] = []
  probes = 0

  told: PlaneListener['told'] = (write, { entity, ids }) =>
    void this.heard.push({ kind: 'told', write, entity, ids })
  proven: PlaneListener['proven'] = (t0, snapshot) =>
    void this.heard.push({ kind: 'proven', t0, snapshot })
  lost: PlaneListener['lost'] = (reason) => void this.heard.push({ kind: 'lost', reason })
  probed: PlaneListener['probed'] = () => void this.probes++
  stalled: PlaneListener['stalled'] = () => {}

  get proofs() {
    return this.heard.filter((one) => one.kind === 'proven')
  }
  get losses() {
    return this.heard.flatMap((one) => (one.kind === 'lost' ? one.reason : []))
  }
  wasTold(write: WriteId): boolean {
    return this.heard.some(
      (one) =>
        one.kind === 'told' &&
        one.write.xid === write.xid &&
        one.write.incarnation === write.incarnation,
    )
  }
}

/** One plane, and what stands behind it. */
interface Rig {
  readonly clock: VirtualClock
  readonly database: MemoryDatabase
  open(listener: PlaneListener, more?: Partial<PlaneOptions>): Plane
  /** What a writer does behind its COMMIT. */
  finish(write: CommittedWrite): void
  /** Something is lost between the writers and the instances. */
  gap(): Promise<string>
  close(): Promise<void>
}

function rig(isLog: boolean): Rig {
  const clock = new VirtualClock()
  const database = new MemoryDatabase({
    clock,
    namespaceHasL2: false,
    namespaceHasLog: isLog,
    mostRowsAPoll: 20,
  })
  const topic = new MemoryTopic(clock, 2)
  const source: Log | undefined = isLog ? memoryLog(topic, 'shop') : undefined
  const relay = new Relay({
    instance: 'the relay',
    outbox: database,
    destinations: source ? [logDestination(source, clock, boundMs)] : [],
    repeats: undefined,
    clock,
    log: silent,
    intervalMs: 40,
    barrierIntervalMs: pollIntervalMs,
    minAgeMs: 100,
    retentionMs,
    deadlineMs: 3_000,
  })
  relay.start()
  const finisher = new Finisher({
    ...{ outbox: database, source, wakesOthers: !isLog, clock },
    log: silent,
    deadlineMs: 500,
  })
  return {
    clock,
    database,
    open: (listener, more = {}) => {
      const options: PlaneOptions = {
        ...{ outbox: database, listener, clock, pollIntervalMs },
        log: silent,
        pollDeadlineMs: boundMs,
        join: () => Promise.resolve(),
        heard: ({ isRelayDue }) => {
          if (isRelayDue) relay.due()
          return true
        },
        ...more,
      }
      if (isLog) return new LogPlane({ ...options, source: memoryLog(topic, 'shop') })
      return new Tail({ ...options, wakesOthers: true, relayIntervalMs: () => undefined })
    },
    finish: (write) => finisher.add(write),
    gap: async () => {
      if (isLog) {
        topic.drop()
        return 'gap'
      }
      for (let row = 0; row < 30; row++) database.putByTrigger('city', 9, undefined)
      return 'too-many-rows'
    },
    close: async () => {
      const closed = watch(Promise.all([finisher.flush(), relay.close(), source?.close()]))
      await clock.advance(5_000)
      expect([closed.state, clock.timers]).toEqual(['resolved', 0])
    },
  }
}

describe.each([
  ['the tail of the outbox', false],
  ['the log', true],
])('%s', (_, isLog) => {
  let place: Rig
  let planes: Plane[]
  beforeEach(() => {
    place = rig(isLog)
    planes = []
  })
  afterEach(async () => {
    const closed = watch(Promise.all(planes.map((plane) => plane.close())))
    await place.clock.settle()
    expect(closed.state).toBe('resolved')
    await place.close()
  })

  async function start(more?: Partial<PlaneOptions>) {
    const instance = new Instance()
    const plane = place.open(instance, more)
    planes.push(plane)
    const started = watch(plane.start())
    await place.clock.settle()
    expect(started.state).toBe('resolved')
    return { instance, plane }
  }

  function begin(ids = ['1']): { xid: Xid; rowIds: readonly string[]; ids: readonly string[] } {
    const xid = place.database.takeXid()
    return { xid, ids, rowIds: place.database.record(xid, [{ entity: 'city', ids }]) }
  }

  /** The writer dies behind its COMMIT, or finishes. */
  function commit(one: ReturnType<typeof begin>, isFinished = false): WriteId {
    const { xid, rowIds, ids } = one
    place.database.finish(xid, 'committed')
    const write = { incarnation: place.database.incarnation, xid }
    if (isFinished) {
      place.finish({ rowIds, writes: [{ write, entity: 'city', ids }], isApplied: true })
    }
    return write
  }

  /** What was proven without being told of a write that it sees, since the instance was there. */
  function missed({ heard }: Instance, writes: readonly WriteId[]): readonly Xid[] {
    const told = new Set<Xid>()
    const missing: Xid[] = []
    for (const one of heard) {
      if (one.kind === 'told') told.add(one.write.xid)
      if (one.kind !== 'proven') continue
      for (const write of writes) {
        if (visible(write, one.snapshot) && !told.has(write.xid)) missing.push(write.xid)
      }
    }
    return missing
  }

  test('what is committed is told with its entity and ids, whether its writer finishes or dies', async () => {
    const { instance } = await start()
    await place.clock.advance(500)
    const writes = [commit(begin(['7', 'x']), true), commit(begin(['8']))]
    await place.clock.advance(1_000)
    const told = instance.heard.flatMap((one) => (one.kind === 'told' ? [one] : []))
    for (const [index, ids] of [['7', 'x'], ['8']].entries()) {
      const mine = told.filter(({ write }) => write.xid === writes[index]?.xid)
      expect(mine.length).toBeGreaterThan(0)
      expect(mine.every(({ entity }) => entity === 'city')).toBe(true)
      expect(new Set(mine.flatMap((one) => one.ids))).toEqual(new Set(ids))
    }
  })

  test('SQL of others is told, and what was rolled back is not', async () => {
    const { instance } = await start()
    await place.clock.advance(500)
    const { incarnation } = place.database
    const xid = place.database.putByTrigger('city', 5, { id: 5 })
    const gone = begin()
    place.database.finish(gone.xid, 'aborted')
    await place.clock.advance(1_000)
    expect(instance.wasTold({ incarnation, xid })).toBe(true)
    expect(instance.wasTold({ incarnation, xid: gone.xid })).toBe(false)
  })

  test('nothing is proven before all that it sees has been told, however late transactions commit', async () => {
    const { instance } = await start()
    await place.clock.advance(500)
    const open = Array.from({ length: 10 }, () => begin())
    const writes: WriteId[] = []
    for (const index of [7, 2, 9, 0, 4, 8, 1, 6]) {
      writes.push(commit(open[index] as ReturnType<typeof begin>, index % 2 === 0))
      await place.clock.advance(130)
    }
    await place.clock.advance(1_000)
    for (const index of [3, 5]) writes.push(commit(open[index] as ReturnType<typeof begin>))
    await place.clock.advance(1_000)
    expect(missed(instance, writes)).toEqual([])
    expect(writes.every((write) => instance.wasTold(write))).toBe(true)
    const last = instance.proofs.at(-1)
    expect(last && writes.every((write) => visible(write, last.snapshot))).toBe(true)
    expect(instance.losses).toEqual([])
  })

  test('what is proven was asked for at t0 or later, so it sees what was committed before', async () => {
    const { instance } = await start()
    const commits: { readonly write: WriteId; readonly atMs: number }[] = []
    for (let step = 0; step < 20; step++) {
      await place.clock.advance(70)
      commits.push({ write: commit(begin(), true), atMs: place.clock.monotonicMs() })
    }
    await place.clock.advance(1_000)
    expect(instance.proofs.length).toBeGreaterThan(5)
    for (const { t0, snapshot } of instance.proofs) {
      const before = commits.filter(({ atMs }) => atMs < t0.monotonicMs)
      expect(before.every(({ write }) => visible(write, snapshot))).toBe(true)
    }
    // And each proves more than the one before.
    for (const [index, { t0, snapshot }] of instance.proofs.entries()) {
      const next = instance.proofs[index + 1]
      if (!next) continue
      expect(next.t0.monotonicMs).toBeGreaterThan(t0.monotonicMs)
      expect(covers(next.snapshot, snapshot)).toBe(true)
    }
  })

  test('while nothing is lost the proof is never older than B', async () => {
    const { instance, plane } = await start()
    await place.clock.advance(1_000)
    for (let step = 0; step < 40; step++) {
      commit(begin(), step % 2 === 0)
      if (step % 5 === 0) watch(plane.fresh(new AbortController().signal))
      await place.clock.advance(50)
      const t0 = instance.proofs.at(-1)?.t0.monotonicMs ?? 0
      expect(place.clock.monotonicMs() - t0).toBeLessThanOrEqual(boundMs)
    }
  })

  test('after a gap it is told so, nothing of before proves anything, and it goes on', async () => {
    const { instance } = await start()
    await place.clock.advance(1_000)
    expect(instance.losses).toEqual([])
    const reason = await place.gap()
    const write = commit(begin(), true)
    await place.clock.advance(3_000)
    expect(instance.losses[0]).toBe(reason)
    const lost = instance.heard.findIndex((one) => one.kind === 'lost')
    const after = instance.heard.slice(lost).filter((one) => one.kind === 'proven')
    expect(after.length).toBeGreaterThan(3)
    // The first proof of after sees what may have been missed.
    expect(after[0] && visible(write, after[0].snapshot)).toBe(true)
  })

  test('in another incarnation nothing is proven before it is told that one has begun', async () => {
    const { instance } = await start()
    await place.clock.advance(1_000)
    place.database.crash()
    const before = instance.heard.length
    const write = commit(begin(), true)
    await place.clock.advance(3_000)
    const later = instance.heard.slice(before)
    const begun = later.findIndex((one) => one.kind === 'lost' && one.reason === 'incarnation')
    expect(begun).toBeGreaterThanOrEqual(0)
    const { incarnation } = place.database
    const proofs = later.flatMap((one, index) => (one.kind === 'proven' ? [{ ...one, index }] : []))
    expect(proofs.some(({ snapshot }) => visible(write, snapshot))).toBe(true)
    for (const { index, snapshot } of proofs) {
      expect(snapshot.incarnation === incarnation).toBe(index > begun)
    }
  })

  test('an instance that comes later is told of what is committed from its first proof on', async () => {
    commit(begin(), true)
    await start()
    await place.clock.advance(1_000)
    const open = begin()
    const { instance } = await start()
    await place.clock.advance(1_000)
    const write = commit(open)
    await place.clock.advance(1_000)
    expect(instance.wasTold(write)).toBe(true)
    expect(missed(instance, [write])).toEqual([])
  })

  test('a fresh snapshot sees all that was committed before it was asked for', async () => {
    const { plane } = await start()
    await place.clock.advance(330)
    const write = commit(begin())
    const fresh = watch(plane.fresh(new AbortController().signal))
    await place.clock.settle()
    expect(fresh.value && visible(write, fresh.value)).toBe(true)
    const gone = watch(plane.fresh(AbortSignal.abort('gone')))
    await place.clock.settle()
    expect(gone.error).toBe('gone')
  })

  test('while the source is away nothing is proven, and who asks is told', async () => {
    const { instance, plane } = await start()
    await place.clock.advance(1_000)
    place.database.down = new Error('down')
    const fresh = watch(plane.fresh(new AbortController().signal))
    await place.clock.advance(500)
    expect(fresh.error).toBe(place.database.down)
    const proofs = instance.proofs.length
    await place.clock.advance(3_000)
    expect(instance.proofs.length).toBe(proofs)
    place.database.down = undefined
    await place.clock.advance(2_000)
    expect(instance.proofs.length).toBeGreaterThan(proofs)
  })

  test('a start without a source rejects', async () => {
    place.database.down = new Error('down')
    const plane = place.open(new Instance())
    planes.push(plane)
    const started = watch(plane.start())
    await place.clock.settle()
    expect(started.error).toBe(place.database.down)
    place.database.down = undefined
  })

  test('who is not known as an instance proves nothing', async () => {
    const plane = place.open(new Instance(), { join: () => Promise.reject(new Error('refused')) })
    planes.push(plane)
    const started = watch(plane.start())
    await place.clock.settle()
    expect((started.error as Error).message).toBe('refused')
  })

  test('after a close nothing is told, asked or left', async () => {
    const { instance, plane } = await start()
    await place.clock.advance(500)
    const fresh = watch(plane.fresh(new AbortController().signal))
    const closed = watch(plane.close())
    await place.clock.settle()
    expect([closed.state, fresh.state]).toEqual(['resolved', 'rejected'])
    const { length } = instance.heard
    const { probes } = instance
    commit(begin(), true)
    await place.clock.advance(3_000)
    expect([instance.heard.length, instance.probes]).toEqual([length, probes])
    const after = watch(plane.fresh(new AbortController().signal))
    await place.clock.settle()
    expect(after.state).toBe('rejected')
  })
})
