/**
 * The durable planes over PostgreSQL, and over PostgreSQL and Kafka: what `plane.test.ts` holds in
 * every detail in virtual time holds here too, while writers of all kinds come and go.
 */
import { describe, expect, onTestFinished, test } from 'vitest'
import { logDestination } from '../../src/coordinator/destinations.ts'
import { Finisher } from '../../src/coordinator/finisher.ts'
import { LogPlane } from '../../src/coordinator/log-plane.ts'
import type { Plane, PlaneListener, PlaneOptions } from '../../src/coordinator/plane.ts'
import { Relay } from '../../src/coordinator/relay.ts'
import { Tail } from '../../src/coordinator/tail.ts'
import { openLog } from '../../src/kafka/log.ts'
import { settleKafka } from '../../src/kafka/options.ts'
import type { Log } from '../../src/model/bus-ports.ts'
import { systemClock as clock, type Reading } from '../../src/model/clock.ts'
import { silent } from '../../src/model/log.ts'
import { covers, type Snapshot, visible, type WriteId } from '../../src/model/snapshot.ts'
import type { Recorded } from '../../src/model/source-port.ts'
import { ownNamespace } from '../support/namespace.ts'
import { type PlaneName, planes, until } from '../support/world.ts'
import { never, openPostgresPlace } from './postgres-place.ts'

const pollIntervalMs = 100
const boundMs = 1_000

type Heard =
  | { readonly kind: 'told'; readonly write: WriteId; readonly ids: readonly string[] }
  | { readonly kind: 'proven'; readonly t0: Reading; readonly snapshot: Snapshot }
  | { readonly kind: 'lost'; readonly reason: string }

class Instance implements PlaneListener {
  readonly heard: Heard[] = []
  readonly plane: Plane
  probes = 0

  constructor(open: (listener: PlaneListener) => Plane) {
    this.plane = open(this)
  }

  told: PlaneListener['told'] = (write, { ids }) =>
    void this.heard.push({ kind: 'told', write, ids })
  proven: PlaneListener['proven'] = (t0, snapshot) =>
    void this.heard.push({ kind: 'proven', t0, snapshot })
  lost: PlaneListener['lost'] = (reason) => void this.heard.push({ kind: 'lost', reason })
  probed: PlaneListener['probed'] = () => void this.probes++
  stalled: PlaneListener['stalled'] = () => {}

  get proofs() {
    return this.heard.flatMap((one) => (one.kind === 'proven' ? [one] : []))
  }

  wasTold(write: WriteId): boolean {
    return this.heard.some((one) => one.kind === 'told' && one.write.xid === write.xid)
  }

  async untilProven(write: WriteId): Promise<void> {
    await until('it is proven to see the write', () =>
      this.proofs.some(({ snapshot }) => visible(write, snapshot)),
    )
  }
}

async function openRig(plane: PlaneName) {
  const hasLog = plane === 'kafka'
  const place = await openPostgresPlace({ hasL2: false, hasLog })
  const { outbox } = place
  const { ownTopic, sharedKafka } = await import('../support/kafka.ts')
  const settings = hasLog
    ? settleKafka({ brokers: [...sharedKafka()], topic: ownTopic() }, ownNamespace())
    : undefined
  const openSource = (): Log | undefined => settings && openLog(settings, { clock, log: silent })
  const source = openSource()
  const relay = new Relay({
    instance: 'the relay',
    outbox,
    destinations: source ? [logDestination(source, clock, boundMs)] : [],
    repeats: undefined,
    clock,
    log: silent,
    intervalMs: 20,
    barrierIntervalMs: pollIntervalMs,
    minAgeMs: 50,
    retentionMs: 60_000,
    deadlineMs: 3_000,
  })
  relay.start()
  const finisher = new Finisher({
    ...{ outbox, source, wakesOthers: !hasLog, clock },
    log: silent,
    deadlineMs: 500,
  })
  const opened: Plane[] = []
  onTestFinished(async () => {
    await Promise.all(opened.map((one) => one.close()))
    await finisher.flush()
    await relay.close()
    await source?.close()
  })
  const open = async (): Promise<Instance> => {
    // Each instance has a connection of its own, as in a process of its own.
    const own = await place.another()
    const instance = new Instance((listener) => {
      const options: PlaneOptions = {
        ...{ outbox: own.outbox, listener, clock, pollIntervalMs },
        log: silent,
        pollDeadlineMs: boundMs,
        join: () => Promise.resolve(),
        heard: ({ isRelayDue }) => {
          if (isRelayDue) relay.due()
          return true
        },
      }
      const log = openSource()
      if (log) return new LogPlane({ ...options, source: log })
      return new Tail({ ...options, wakesOthers: true, relayIntervalMs: () => undefined })
    })
    opened.push(instance.plane)
    await instance.plane.start()
    return instance
  }
  /** `finishes`: or the writer dies behind its COMMIT. */
  const write = async (ids: readonly string[], finishes: boolean): Promise<WriteId> => {
    const recorded: Recorded = await place.write(...ids)
    if (finishes) {
      const writes = [{ write: recorded.write, entity: 'thing', ids }]
      finisher.add({ rowIds: recorded.rowIds, writes, isApplied: true })
    }
    return recorded.write
  }
  return { place, open, write, relay, source }
}

/** What was proven without being told of a write that it sees. */
function missed({ heard }: Instance, writes: readonly WriteId[]): readonly WriteId[] {
  const told = new Set<number>()
  return heard.flatMap((one) => {
    if (one.kind === 'told') told.add(one.write.xid)
    if (one.kind !== 'proven') return []
    return writes.filter((write) => visible(write, one.snapshot) && !told.has(write.xid))
  })
}

describe.each(planes)('the %s plane', (plane) => {
  test('whatever commits, however late, whoever dies: it is told before anything proves to see it', async () => {
    const { place, open, write } = await openRig(plane)
    const first = await open()
    await until('something is proven', () => first.proofs.length > 0)
    const begun = await Promise.all(Array.from({ length: 4 }, () => place.begin()))
    const late: WriteId[] = []
    for (const [index, transaction] of begun.entries()) {
      const recorded = await transaction.record([{ entity: 'thing', ids: [`late ${index}`] }])
      late.push(recorded.write)
    }
    const writes: WriteId[] = []
    const second = await open()
    await until('something is proven', () => second.proofs.length > 0)
    for (let round = 0; round < 30; round++) {
      writes.push(await write([`${round}`], round % 2 === 0))
      if (round % 7 === 0) await begun[round / 7]?.commit()
      if (round % 5 === 0) await place.writeForeign(`foreign ${round}`)
    }
    const all = [...writes, ...late]
    for (const one of all) await Promise.all([first.untilProven(one), second.untilProven(one)])
    // The second one came after the first writes had begun, and before any had ended.
    expect(late.every((one) => second.wasTold(one))).toBe(true)
    expect(all.every((one) => first.wasTold(one))).toBe(true)
    expect([...missed(first, all), ...missed(second, all)]).toEqual([])
    for (let round = 0; round < 30; round += 5) {
      await until('SQL of others is told', () =>
        first.heard.some((one) => one.kind === 'told' && one.ids[0] === `foreign ${round}`),
      )
    }
    expect(first.heard.filter(({ kind }) => kind === 'lost')).toEqual([])
  })

  test('a proof sees what had returned before it was asked for, and each sees what the one before saw', async () => {
    const { open, write } = await openRig(plane)
    const instance = await open()
    const returned: { readonly write: WriteId; readonly atMs: number }[] = []
    for (let round = 0; round < 30; round++) {
      returned.push({ write: await write(['1'], true), atMs: clock.monotonicMs() })
      if (round % 3 === 0) void instance.plane.fresh(never)
    }
    await instance.untilProven(returned.at(-1)?.write as WriteId)
    for (const [index, { t0, snapshot }] of instance.proofs.entries()) {
      const before = returned.filter(({ atMs }) => atMs < t0.monotonicMs)
      expect(before.every((one) => visible(one.write, snapshot))).toBe(true)
      const next = instance.proofs[index + 1]
      if (next) expect(covers(next.snapshot, snapshot)).toBe(true)
    }
  })

  test('a fresh snapshot sees what had committed; who has gone and who has closed is told', async () => {
    const { open, write, place } = await openRig(plane)
    const instance = await open()
    for (let round = 0; round < 5; round++) {
      const one = await write(['1'], false)
      expect(visible(one, await instance.plane.fresh(never))).toBe(true)
    }
    await expect(instance.plane.fresh(AbortSignal.abort('gone'))).rejects.toBe('gone')
    await instance.plane.close()
    const { length } = instance.heard
    const { probes } = instance
    await expect(instance.plane.fresh(never)).rejects.toBeDefined()
    const other = await open()
    await other.untilProven((await place.write('1')).write)
    expect([instance.heard.length, instance.probes]).toEqual([length, probes])
  })
})
