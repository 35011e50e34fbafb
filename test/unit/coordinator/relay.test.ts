/** The relay over an outbox in memory: who relays, what becomes of rows, and when there are barriers. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { RelayDestination } from '../../../src/coordinator/destinations.ts'
import { Relay, type RelayOptions } from '../../../src/coordinator/relay.ts'
import { silent } from '../../../src/model/log.ts'
import type { Claim, Outbox } from '../../../src/model/outbox-port.ts'
import { type Snapshot, visible, type Xid } from '../../../src/model/snapshot.ts'
import { VirtualClock, watch } from '../../support/clock.ts'
import { over } from '../../support/over.ts'
import { MemoryDatabase } from '../../support/ports.ts'

const intervalMs = 40
const termMs = 30_000
const retentionMs = 10_000
const deadlineMs = 3_000

let clock: VirtualClock
let database: MemoryDatabase
/** What the log has, in its order: xids that it was told of, and barriers. */
let log: (Xid | Snapshot)[]
let relays: Relay[]
beforeEach(() => {
  clock = new VirtualClock()
  database = new MemoryDatabase({ clock, namespaceHasL2: false, namespaceHasLog: true })
  log = []
  relays = []
})
afterEach(async () => {
  const closed = watch(Promise.all(relays.map((relay) => relay.close())))
  await clock.advance(deadlineMs)
  expect([closed.state, clock.timers]).toEqual(['resolved', 0])
})

interface Options {
  readonly outbox?: Outbox
  readonly tell?: (claim: Claim) => Promise<readonly string[]>
  readonly repeats?: RelayOptions['repeats']
}

function start({ outbox = database, tell, repeats }: Options = {}): Relay {
  const destination: RelayDestination = {
    name: 'log',
    tell:
      tell ??
      (async ({ rows }) => {
        for (const { xid } of rows) log.push(xid)
        return rows.map(({ rowId }) => rowId)
      }),
    barrier: async (snapshot) => void log.push(snapshot),
  }
  const relay = new Relay({
    instance: `instance ${relays.length}`,
    outbox,
    destinations: [destination],
    repeats,
    clock,
    log: silent,
    intervalMs,
    barrierIntervalMs: 200,
    minAgeMs: 100,
    retentionMs,
    deadlineMs,
  })
  relay.start()
  relays.push(relay)
  return relay
}

/** Runs on; every 200 ms each relay hears that nobody relays, if so, as with its polls. */
async function run(ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 200) {
    for (const relay of relays) {
      const { isRelayDue } = await database.probe(new AbortController().signal)
      if (isRelayDue) relay.due()
      await clock.settle()
    }
    await clock.advance(200)
  }
}
const barriers = (): readonly Snapshot[] => log.filter((one) => typeof one === 'object')
const commit = (xid: Xid): void => database.finish(xid, 'committed')
function begin(): Xid {
  const xid = database.takeXid()
  database.record(xid, [{ entity: 'city', ids: ['1'] }])
  return xid
}

test('nobody relays who was not asked to', async () => {
  const relay = start()
  commit(begin())
  await clock.advance(2 * termMs)
  expect([relay.isRelaying, relay.owed('log'), log]).toEqual([false, undefined, []])
})

test('one relays at a time, and another when that one is gone', async () => {
  const [one, other] = [start(), start()]
  await run(5_000)
  expect([one.isRelaying, other.isRelaying]).toEqual([true, false])
  await one.close()
  expect(one.isRelaying).toBe(false)
  await run(1_200)
  expect(other.isRelaying).toBe(true)
})

test('a relay that is cut off finds that out by itself, and leaves it to whoever took over', async () => {
  let isCutOff = false
  const outbox = over<Outbox>(database, {
    progress: (...args) =>
      isCutOff ? Promise.reject(new Error('it does not lead')) : database.progress(...args),
  })
  const [one, other] = [start({ outbox }), start()]
  await run(400)
  expect([one.isRelaying, other.isRelaying]).toEqual([true, false])
  isCutOff = true
  database.resign('instance 0')
  other.due()
  await clock.settle()
  expect(other.isRelaying).toBe(true)
  await run(400)
  expect([one.isRelaying, other.isRelaying]).toEqual([false, true])
})

test('whoever relays says so again, and stops when somebody else does', async () => {
  const one = start()
  await run(400)
  expect(one.isRelaying).toBe(true)
  database.resign('instance 0')
  expect(await database.lead('somebody else', new AbortController().signal)).toBe(true)
  await clock.advance(termMs + intervalMs)
  expect(one.isRelaying).toBe(false)
  // Nor does it take from others what is theirs.
  expect(await database.lead('another', new AbortController().signal)).toBe(false)
})

test('who waits for the relay to begin waits until nothing was left to do and there is a barrier', async () => {
  const idle = start()
  await idle.begun(new AbortController().signal)
  const relay = start()
  relay.due()
  const begun = watch(relay.begun(new AbortController().signal))
  await clock.settle()
  expect([begun.state, barriers().length]).toEqual(['resolved', 1])
  // And not forever, where it can't begin.
  const failing = start({
    outbox: over<Outbox>(database, { lead: () => Promise.reject(new Error('refused')) }),
  })
  failing.due()
  const failed = watch(failing.begun(new AbortController().signal))
  await clock.advance(intervalMs)
  expect(failed.state).toBe('resolved')
  const hanging = start({
    outbox: over<Outbox>(database, { lead: () => new Promise(() => {}) }),
  })
  hanging.due()
  const aborted = watch(hanging.begun(AbortSignal.abort('no longer')))
  await clock.settle()
  expect(aborted.error).toBe('no longer')
})

test('every write that a barrier sees was told of before it, however long a transaction lasts', async () => {
  start()
  const committed: Xid[] = []
  const open: Xid[] = [begin()]
  for (let step = 0; step < 60; step++) {
    open.push(begin())
    if (step % 3 === 0) for (const xid of open.splice(1, 2)) committed.push(xid)
    for (const xid of committed) commit(xid)
    await run(200)
  }
  commit(open[0] as Xid)
  await run(1_000)
  expect(barriers().length).toBeGreaterThan(40)
  for (const barrier of barriers()) {
    const before = log.slice(0, log.indexOf(barrier))
    const seen = [...committed, open[0] as Xid].filter((xid) =>
      visible({ incarnation: database.incarnation, xid }, barrier),
    )
    expect(seen.filter((xid) => !before.includes(xid))).toEqual([])
  }
  // The long one held up nobody.
  const last = committed.at(-1) as Xid
  expect(log.indexOf(last)).toBeLessThan(log.indexOf(open[0] as Xid))
})

test('while a destination can not be told there are no barriers of what it has not heard', async () => {
  let isDown = true
  start({
    tell: async ({ rows }) => {
      if (isDown) throw new Error('down')
      for (const { xid } of rows) log.push(xid)
      return rows.map(({ rowId }) => rowId)
    },
  })
  await run(400)
  const xid = begin()
  commit(xid)
  const write = { incarnation: database.incarnation, xid }
  await run(3_000)
  expect(barriers().filter((barrier) => visible(write, barrier))).toEqual([])
  isDown = false
  await run(1_000)
  expect(barriers().some((barrier) => visible(write, barrier))).toBe(true)
})

test('what is owed is known to whoever relays, and to nobody else', async () => {
  const [one, other] = [start({ tell: async () => [] }), start()]
  await run(400)
  commit(begin())
  await run(1_000)
  expect([one.owed('log')?.rows, other.owed('log')]).toEqual([1, undefined])
})

test('rows that everybody was told of are removed when they are a retention old, and no sooner', async () => {
  start()
  await run(1_000)
  commit(begin())
  await run(retentionMs - 1_000)
  expect(database.outboxRows.length).toBe(1)
  await run(2 * retentionMs)
  expect(database.outboxRows.length).toBe(0)
})

test('an outbox that fails for a moment costs a poll: then somebody relays again', async () => {
  let isFailing = false
  const outbox = over<Outbox>(database, {
    progress: (...args) =>
      isFailing ? Promise.reject(new Error('connection reset')) : database.progress(...args),
  })
  const relay = start({ outbox })
  await run(400)
  isFailing = true
  await clock.advance(2.5 * intervalMs)
  expect(relay.isRelaying).toBe(false)
  isFailing = false
  await run(400)
  expect(relay.isRelaying).toBe(true)
})

test('an outbox that keeps failing is not asked in a tight loop', async () => {
  let asked = 0
  const outbox = over<Outbox>(database, {
    lead: () => {
      asked++
      return Promise.reject(new Error('refused'))
    },
  })
  const relay = start({ outbox })
  for (let step = 0; step < 20; step++) {
    relay.due()
    await clock.advance(200)
  }
  expect(asked).toBeGreaterThan(10)
  expect(asked).toBeLessThanOrEqual((20 * 200) / intervalMs)
})

test('what can not be repeated keeps no row from being removed, and no barrier from being written', async () => {
  const repeats = {
    begin: () => {},
    note: () => {},
    run: () => Promise.reject(new Error('Redis is down')),
  } as unknown as NonNullable<RelayOptions['repeats']>
  start({ repeats })
  commit(begin())
  await run(3 * retentionMs)
  expect(database.outboxRows.length).toBe(0)
  expect(barriers().length).toBeGreaterThan(20)
})
