/** Runs a schedule: act by act, and then until all is quiet. */
import type { VirtualClock } from '../../src/testing/virtual-clock.ts'
import { type Mutation, original } from './mutation.ts'
import type { Violation } from './oracle.ts'
import { openProcess, type SimulatedProcess } from './process.ts'
import { judgeQuiet } from './quiet.ts'
import { read, readAll } from './reads.ts'
import { type Act, type CallAct, isCall, type Schedule } from './schedule.ts'
import type { Stage } from './stage.ts'
import { SimulatedWorld } from './world.ts'
import { idle, invalidate, write, writeElsewhere } from './writes.ts'

export interface Outcome {
  readonly violations: readonly Violation[]
  readonly writes: number
  readonly answers: number
  /** What was asked and answered, in its order: two runs of one schedule are the same. */
  readonly trace: readonly string[]
}

const startMs = 400
/** Between the end of a process and its successor. */
const restartMs = 20

export async function runSchedule(
  schedule: Schedule,
  mutation: Mutation = original,
): Promise<Outcome> {
  return new Run(schedule, mutation).run()
}

class Run implements Stage {
  readonly world: SimulatedWorld
  readonly processes: SimulatedProcess[] = []
  readonly tickets: Stage['tickets'] = []
  /** By what was asked for. */
  readonly underWay = new Map<Promise<void>, string>()
  readonly #schedule: Schedule
  readonly #clock: VirtualClock
  readonly #lives: number[] = []
  readonly #trace: string[] = []

  constructor(schedule: Schedule, mutation: Mutation) {
    this.#schedule = schedule
    this.world = new SimulatedWorld(schedule, mutation)
    this.#clock = this.world.clock
  }

  async run(): Promise<Outcome> {
    const { chance, oracle, scenario } = this.world
    for (let place = 0; place < scenario.processes; place++) this.#start(place)
    await this.#clock.advance(startMs)
    this.world.hasStarted = true
    for (const act of this.#schedule.acts) {
      this.note(describe(act))
      if (isCall(act)) this.#call(act)
      else this.#do(act)
      const beside = chance.of(`act ${act.number}`)
      if (beside.hits(0.4)) this.world.replay()
      if (beside.hits(0.3)) this.world.save()
      await this.#clock.advance(act.afterMs)
    }
    await judgeQuiet(this)
    oracle.judgeEnd()
    const { answers, violations, writes } = oracle
    return { answers, violations, writes, trace: this.#trace }
  }

  readonly note = (text: string): void => {
    this.#trace.push(`${this.#clock.monotonicMs()} ${text}`)
  }

  /** Whoever is killed gets a successor. */
  #start(place: number): void {
    const life = (this.#lives[place] ?? -1) + 1
    this.#lives[place] = life
    const process = openProcess(this.world, place, life)
    process.line.atDeath(() => {
      this.note(`${process.name} is dead`)
      this.#clock.after(restartMs, () => this.#start(place))
    })
    const started = (): void => {
      if (process.line.isDead) return
      this.note(`${process.name} has started`)
      this.processes[place] = process
    }
    // A source without an answer ends a process.
    const failed = (error: unknown): void => {
      this.note(`${process.name} could not start: ${String(error)}`)
      process.line.kill()
    }
    this.#track(`the start of ${process.name}`, process.started.then(started, failed))
  }

  /** Of somebody in that process: when it is stopped, as soon as it goes on. */
  #call(act: CallAct): void {
    const process = this.processes[act.process]
    process?.line.whenAwake(() => {
      const died = new Promise<void>((resolve) => process.line.atDeath(resolve))
      this.#track(describe(act), Promise.race([this.#called(act, process), died]))
    })
  }

  #called(act: CallAct, process: SimulatedProcess): Promise<void> {
    switch (act.kind) {
      case 'write':
        return write(this, process, act)
      case 'invalidate':
        return invalidate(this, process, act.id)
      case 'read':
        return read(this, process, act)
      default:
        return readAll(this, process, act.consistency)
    }
  }

  #do(act: Exclude<Act, CallAct>): void {
    const { world } = this
    switch (act.kind) {
      case 'foreign write':
        this.#track(describe(act), writeElsewhere(this, act))
        break
      case 'idle transaction':
        idle(this, act.openMs)
        break
      case 'evict':
        world.evict(act.id, act.part)
        break
      case 'fail over Redis':
        world.failOverRedis(act.howLongAgo)
        break
      case 'crash PostgreSQL':
        world.crashPostgres()
        break
      case 'fail over PostgreSQL':
        world.failOverPostgres()
        break
      case 'step a clock':
        if (typeof act.of === 'string') world.stepClock(act.of, act.ms)
        else this.processes[act.of]?.line.stepWall(act.ms)
        break
      case 'suspend':
        // The monotonic clock of a machine that sleeps stands still.
        this.#clock.stepWall(act.ms)
        break
      case 'stop':
        this.processes[act.process]?.line.stop(act.ms)
        break
      case 'kill':
        this.processes[act.process]?.line.killAfter(act.afterSteps)
        break
      case 'cut off':
        this.processes[act.process]?.line.cutOff(act.from, act.ms)
        break
      case 'end relay':
        world.endRelay()
        break
      case 'log':
        world.troubleLog(act.trouble)
        break
      default:
        act satisfies never
    }
  }

  #track(what: string, call: Promise<void>): void {
    const underWay = call.finally(() => this.underWay.delete(underWay))
    this.underWay.set(underWay, what)
  }
}

/** An act, in words. */
function describe(act: Act): string {
  const { number, afterMs, kind, ...rest } = act
  const details = Object.entries(rest)
    .map(([name, value]) => `${name} ${Array.isArray(value) ? value.join('+') : String(value)}`)
    .join(', ')
  return `[${number}] ${kind}${details ? `: ${details}` : ''}${afterMs > 0 ? `; then ${afterMs} ms` : ''}`
}
