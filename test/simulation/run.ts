/** Runs a schedule: act by act, and then until all is quiet. */
import { LockstepError } from '../../src/model/errors.ts'
import type { MemoryTx } from '../../src/testing/memory-source.ts'
import { type Mutation, original } from './mutation.ts'
import type { Version, Violation } from './oracle.ts'
import { type Item, openProcess, type SimulatedProcess } from './process.ts'
import type { Act, Schedule } from './schedule.ts'
import { OpenTransaction, openTransactionOf } from './transactions.ts'
import { SimulatedWorld } from './world.ts'

export interface Outcome {
  readonly violations: readonly Violation[]
  readonly writes: number
  readonly answers: number
  /** What was asked and answered, in its order: two runs of one schedule are the same. */
  readonly trace: readonly string[]
}

/** How long all may take that is under way, and the relay, when nothing goes wrong any more. */
const quietMs = 30_000
/** What was given up is done by then. */
const lateMs = 1_000
const quietReadMs = 1_000
const closeMs = 8_000
const startMs = 400
const stepMs = 20
const writeTimeoutMs = 400

export async function runSchedule(
  schedule: Schedule,
  mutation: Mutation = original,
): Promise<Outcome> {
  return new Run(schedule, mutation).run()
}

class Run {
  readonly #schedule: Schedule
  readonly #world: SimulatedWorld
  readonly #processes: SimulatedProcess[] = []
  readonly #lives: number[] = []
  /** By what was asked for. */
  readonly #underWay = new Map<Promise<void>, string>()
  readonly #tickets: { readonly version: Version; readonly ticket: string }[] = []
  readonly #trace: string[] = []

  constructor(schedule: Schedule, mutation: Mutation) {
    this.#schedule = schedule
    this.#world = new SimulatedWorld(schedule, mutation)
  }

  async run(): Promise<Outcome> {
    const { clock, oracle, scenario } = this.#world
    for (let place = 0; place < scenario.processes; place++) this.#start(place)
    await clock.advance(startMs)
    this.#world.hasStarted = true
    for (const act of this.#schedule.acts) {
      this.#do(act)
      const chance = this.#world.chance.of(`act ${act.number}`)
      if (chance.hits(0.4)) this.#world.replay()
      if (chance.hits(0.3)) this.#world.save()
      await clock.advance(act.afterMs)
    }
    await this.#judgeQuiet()
    oracle.judgeEnd()
    const { answers, violations, writes } = oracle
    return { answers, violations, writes, trace: this.#trace }
  }

  #note(text: string): void {
    this.#trace.push(`${this.#world.clock.monotonicMs()} ${text}`)
  }

  /** Whoever is killed gets a successor. */
  #start(place: number): void {
    const life = (this.#lives[place] ?? -1) + 1
    this.#lives[place] = life
    const process = openProcess(this.#world, place, life)
    process.line.atDeath(() => {
      this.#note(`${process.name} is dead`)
      this.#world.clock.after(stepMs, () => this.#start(place))
    })
    const started = (): void => {
      if (process.line.isDead) return
      this.#note(`${process.name} has started`)
      this.#processes[place] = process
    }
    // A source without an answer ends a process.
    const failed = (error: unknown): void => {
      this.#note(`${process.name} could not start: ${String(error)}`)
      process.line.kill()
    }
    this.#track(`the start of ${process.name}`, process.started.then(started, failed))
  }

  #do(act: Act): void {
    const world = this.#world
    this.#note(describe(act))
    switch (act.kind) {
      case 'write':
        return this.#at(act, (process) => this.#write(process, act))
      case 'foreign write':
        return this.#track(describe(act), this.#writeElsewhere(act))
      case 'invalidate':
        return this.#at(act, (process) => this.#invalidate(process, act.id))
      case 'idle transaction':
        return this.#idle(act.openMs)
      case 'read':
        return this.#at(act, (process) => this.#read(process, act))
      case 'read all':
        return this.#at(act, (process) => this.#readAll(process, act.consistency))
      case 'evict':
        return world.evict(act.id, act.part)
      case 'fail over Redis':
        return world.failOverRedis(act.howLongAgo)
      case 'crash PostgreSQL':
        return world.crashPostgres()
      case 'fail over PostgreSQL':
        return world.failOverPostgres()
      case 'step a clock': {
        if (typeof act.of === 'string') return world.stepClock(act.of, act.ms)
        const process = this.#processes[act.of]
        if (process) process.line.wallOffsetMs += act.ms
        return
      }
      case 'suspend':
        // The monotonic clock of a machine that sleeps stands still.
        return world.clock.stepWall(act.ms)
      case 'stop':
        return this.#processes[act.process]?.line.stop(act.ms)
      case 'kill':
        return this.#processes[act.process]?.line.killAfter(act.afterSteps)
      case 'cut off':
        return this.#processes[act.process]?.line.cutOff(act.from, act.ms)
      case 'end relay':
        return world.endRelay()
      case 'log':
        return world.troubleLog(act.trouble)
      default:
        act satisfies never
    }
  }

  /** A call of somebody in that process: when it is stopped, as soon as it goes on. */
  #at(act: Act & { process: number }, call: (process: SimulatedProcess) => Promise<void>): void {
    const process = this.#processes[act.process]
    process?.line.whenAwake(() => {
      const died = new Promise<void>((resolve) => process.line.atDeath(resolve))
      this.#track(describe(act), Promise.race([call(process), died]))
    })
  }

  #track(what: string, call: Promise<void>): void {
    const underWay = call.finally(() => this.#underWay.delete(underWay))
    this.#underWay.set(underWay, what)
  }

  // ---- calls

  async #write(process: SimulatedProcess, act: Act & { kind: 'write' }): Promise<void> {
    const { oracle } = this.#world
    let versions: readonly Version[] = []
    const run = async (handle: MemoryTx): Promise<Item[]> => {
      const open = openTransactionOf(handle)
      versions = open.versions
      if (act.how === 'roll back to a savepoint') await this.#savepoint(handle, open, act)
      const rows: Item[] = []
      for (const id of act.ids) {
        const { number } = await open.write(id, false)
        rows.push(handle.put('item', id, { id, number }))
      }
      await this.#world.pause(act.openMs)
      if (act.how === 'roll back') throw new Error('the callback fails')
      open.check()
      return rows
    }
    const keys = act.ids.map((id) => ({ entity: process.item.entity, id: String(id) }))
    try {
      const { fenced, ticket } = await process.running.write(run as never, () => keys, {
        timeoutMs: writeTimeoutMs,
        retries: 0,
        onFenceFailure: act.reject ? 'reject' : 'proceed',
        ...(act.everywhere ? { wait: 'everywhere' } : {}),
      })
      this.#note(`write ${act.number} returned, fenced ${fenced}`)
      for (const version of versions) {
        this.#tickets.push({ version, ticket })
        if (version.state !== 'committed' && version.state !== 'lost') {
          oracle.violate('I2', `version ${version.number} was acknowledged, and is not there`)
        }
        if (fenced) version.ackedAt = oracle.step()
        if (act.everywhere && version.state === 'committed') this.#judgeEverywhere(version)
      }
    } catch (error) {
      this.#note(`write ${act.number} failed: ${String(error)}`)
      if (!(error instanceof Error)) throw error
      const isKnown = error instanceof LockstepError && error.code === 'WRITE_ABORTED'
      if (isKnown && versions.some(({ state }) => state === 'committed')) {
        oracle.violate('I2', `write ${act.number} was said to be rolled back, and is there`)
      }
    }
  }

  /** `everywhere`: no L1 of a process that lives has an older value that it would serve. */
  #judgeEverywhere({ id, number }: Version): void {
    for (const { item, line, name, running } of this.#processes) {
      if (line.isDead) continue
      const slot = item.region.find(item.entity.keyOf(id))
      if (slot === undefined) continue
      const found = (item.region.valueAt(slot) as Item | undefined)?.number
      if ((found ?? -1) >= number) continue
      if (running.health.isTrusted) {
        this.#world.oracle.violate(
          'I2',
          `${name} has ${found} of ${id} after version ${number} was everywhere`,
        )
      }
    }
  }

  /** What is written and taken back inside a transaction is nobody's business. */
  async #savepoint(
    handle: MemoryTx,
    open: OpenTransaction,
    { ids }: Act & { kind: 'write' },
  ): Promise<void> {
    const id = ids[0] as number
    const { locks, oracle } = this.#world
    await locks.take(id, open)
    open.check()
    const taken = oracle.begin(id, false)
    const before = this.#world.truth(id)
    handle.put('item', id, { id, number: taken.number })
    oracle.aborted(taken)
    await this.#world.pause(1)
    open.check()
    handle.put('item', id, { id, number: before as number })
  }

  async #writeElsewhere(act: Act & { kind: 'foreign write' }): Promise<void> {
    const { database } = this.#world
    const open = new OpenTransaction(this.#world)
    const xid = database.takeXid()
    const ended = new Promise<void>((resolve) => {
      open.atEnd = resolve
    })
    const work = async (): Promise<void> => {
      const { number } = await open.write(act.id, true)
      database.put(xid, 'item', act.id, { id: act.id, number } satisfies Item)
      database.record(xid, [{ entity: 'item', ids: [String(act.id)] }], true)
      await this.#world.pause(act.openMs)
      if (open.isEnded) return
      database.finish(xid, act.isRolledBack ? 'aborted' : 'committed')
      open.end(!act.isRolledBack)
    }
    // It ends with a crash of the database, too.
    await Promise.race([work().catch(() => {}), ended])
  }

  /** Written by SQL that tells nobody; then told of by a call. */
  async #invalidate(process: SimulatedProcess, id: number): Promise<void> {
    const { database, oracle } = this.#world
    const open = new OpenTransaction(this.#world)
    const xid = database.takeXid()
    const ended = new Promise<void>((resolve) => {
      open.atEnd = resolve
    })
    const work = async (): Promise<Version | undefined> => {
      const version = await open.write(id, true)
      // It becomes known, and due, with the call.
      database.put(xid, 'item', id, { id, number: version.number } satisfies Item)
      database.finish(xid, 'committed')
      open.end(true)
      version.committedAtMs = Number.POSITIVE_INFINITY
      version.isTold = false
      return version
    }
    const version = await Promise.race([work().catch(() => undefined), ended.then(() => undefined)])
    const written = version ?? open.versions[0]
    if (written?.state !== 'committed') return
    const keys = [{ entity: process.item.entity, id: String(id) }]
    try {
      const { fenced } = await process.running.write(
        () => undefined,
        () => keys,
        { timeoutMs: writeTimeoutMs, retries: 0, onFenceFailure: 'proceed' },
      )
      if (fenced) written.ackedAt = oracle.step()
      written.committedAtMs = this.#world.clock.monotonicMs()
      written.isTold = true
    } catch {
      // Nobody is told, as nobody had been before.
    }
  }

  #idle(openMs: number): void {
    const { clock, database } = this.#world
    const xid = database.takeXid()
    const { incarnation } = database
    clock.after(openMs, () => {
      if (database.incarnation === incarnation) database.finish(xid, 'aborted')
    })
  }

  async #read(process: SimulatedProcess, act: Act & { kind: 'read' }): Promise<void> {
    const { mutation, oracle } = this.#world
    const { demand, id } = act
    const known = this.#tickets.filter(({ version }) => version.id === id)
    const chance = this.#world.chance.of(`ticket ${act.number}`)
    const wanted = demand === 'tickets' ? 2 : demand === 'ticket' ? 1 : 0
    const tickets =
      known.length === 0
        ? []
        : Array.from({ length: wanted }, () => chance.pick(known.slice(wanted > 1 ? -3 : -8)))
    const ask = oracle.ask({
      id,
      process: process.name,
      isStrong: demand === 'strong',
      tickets: tickets.map(({ version }) => version),
    })
    const [ticket, ...others] = tickets.map(({ ticket }) => ticket)
    const merge = mutation.mergeTickets
    const request = {
      ...(demand === 'strong' ? { consistency: 'strong' as const } : {}),
      ...(ticket ? { ticket: others.length > 0 && merge ? merge(ticket, ...others) : ticket } : {}),
    }
    try {
      const { value, tier, isProven } = await process.item.reader.getEntry(id, request)
      const number = (value as Item | undefined)?.number ?? -1
      this.#note(`read ${act.number} got ${number} from ${tier}`)
      oracle.judge(ask, { number, tier, isProven })
    } catch (error) {
      this.#failed(`read ${act.number}`, error)
    }
  }

  async #readAll(process: SimulatedProcess, consistency: 'bounded' | 'strong'): Promise<void> {
    const { ids, oracle, scenario } = this.#world
    const isStrong = consistency === 'strong'
    const asks = ids.map((id) => oracle.ask({ id, process: process.name, isStrong }))
    try {
      const values = await process.item.reader.getMany(ids, isStrong ? { consistency } : {})
      for (const ask of asks) {
        const number = (values.get(ask.id) as Item | undefined)?.number ?? -1
        this.#note(`${consistency} read of ${ask.id} among all got ${number}`)
        // Where it came from nobody says; strong reads and foreign entities are proven.
        const isProven = isStrong || scenario.foreignWrites
        oracle.judge(ask, { number, tier: 'any', isProven })
      }
    } catch (error) {
      this.#failed('a read of all', error)
    }
  }

  #failed(what: string, error: unknown): void {
    this.#note(`${what} failed: ${String(error)}`)
    const isKnown = error instanceof Error && 'code' in error
    if (!isKnown) this.#world.oracle.violate('I8', `${what} failed with ${String(error)}`)
  }

  // ---- when all is quiet

  async #judgeQuiet(): Promise<void> {
    const { clock, database, oracle } = this.#world
    this.#world.calm()
    const isStopped = (): boolean => this.#processes.some(({ line }) => line.isStopped)
    await this.#until(quietMs, () => this.#underWay.size === 0 && !isStopped())
    if (this.#underWay.size > 0) {
      oracle.violate('I8', `never ended: ${[...this.#underWay.values()].join('; ')}`)
    }
    const owed = async (): Promise<number> => {
      const { owed } = await database.progress({}, new AbortController().signal)
      return owed.l2.rows + owed.log.rows
    }
    await this.#until(quietMs, async () => (await owed()) === 0)
    if ((await owed()) > 0) oracle.violate('I2', `${await owed()} rows were never told of`)
    await clock.advance(lateMs)
    for (const process of this.#processes) {
      for (const id of this.#world.ids) {
        let tier: string | undefined
        for (const request of [{}, { consistency: 'strong' as const }, {}]) {
          tier = await this.#judgeQuietRead(process, id, request)
        }
        if (tier === 'source') {
          oracle.violate('I5', `when all is quiet ${process.name} loads ${id} again and again`)
        }
      }
    }
    await this.#close()
    if (clock.timers > 0) oracle.violate('I8', `${clock.timers} timers are left`)
    if (database.openTransactions > 0) oracle.violate('I8', 'a transaction is left open')
  }

  async #judgeQuietRead(
    { item, name }: SimulatedProcess,
    id: number,
    request: { consistency?: 'strong' },
  ): Promise<string | undefined> {
    const { oracle } = this.#world
    const due = oracle.due(id)
    let isAnswered = false
    let from: string | undefined
    const read = item.reader.getEntry(id, request).then(
      ({ value, tier }) => {
        from = tier
        const number = (value as Item | undefined)?.number ?? -1
        this.#note(`${name} has ${number} of ${id} in ${tier} when all is quiet`)
        if (number < due) {
          oracle.violate(
            'I1',
            `when all is quiet ${name} has ${number} of ${id} from ${tier}, ${due} is there`,
          )
        }
      },
      (error: unknown) => {
        oracle.violate('I8', `when all is quiet a read of ${id} in ${name} fails: ${String(error)}`)
      },
    )
    void read.then(() => {
      isAnswered = true
    })
    await this.#until(quietReadMs, () => isAnswered)
    return from
  }

  /** Lets time pass until it holds, or for so long. */
  async #until(withinMs: number, holds: () => boolean | Promise<boolean>): Promise<void> {
    const { clock } = this.#world
    const deadlineMs = clock.monotonicMs() + withinMs
    await clock.settle()
    while (!(await holds()) && clock.monotonicMs() < deadlineMs) await clock.advance(stepMs)
  }

  async #close(): Promise<void> {
    const { clock, oracle } = this.#world
    let open = this.#processes.length
    for (const { line, running } of this.#processes) {
      if (line.isDead) open--
      else void running.close(100).then(() => open--)
    }
    await this.#until(closeMs, () => open === 0 && clock.timers === 0)
    if (open > 0) oracle.violate('I8', `${open} processes do not close`)
  }
}

/** An act, in words. */
export function describe(act: Act): string {
  const { number, afterMs, kind, ...rest } = act
  const details = Object.entries(rest)
    .map(([name, value]) => `${name} ${Array.isArray(value) ? value.join('+') : String(value)}`)
    .join(', ')
  return `[${number}] ${kind}${details ? `: ${details}` : ''}${afterMs > 0 ? `; then ${afterMs} ms` : ''}`
}
