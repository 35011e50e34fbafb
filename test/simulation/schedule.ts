/**
 * What happens in one schedule: drawn from its seed before it runs, as a list of acts, so that a
 * schedule that shows something can be made shorter and run again.
 */
import { Chance } from './chance.ts'

/** What a world of this schedule is like. */
export interface Scenario {
  readonly processes: number
  readonly ids: number
  readonly hasL2: boolean
  /** The durable plane is a log; else every process tails the outbox. */
  readonly hasLog: boolean
  readonly foreignWrites: boolean
  readonly isolation: 'read committed' | 'repeatable read'
  /** Of processes that write through; the others don't. */
  readonly writeThrough: number
  /** Some processes have another schema version of the entity. */
  readonly hasVersions: boolean
  readonly hasReplicas: boolean
  /** No message of the fast plane arrives. */
  readonly isDeaf: boolean
  /** How long a call may take, there or back. */
  readonly delaysMs: readonly number[]
  /** Share of the calls to Redis that are answered too late, and done later still, or never. */
  readonly lostCalls: number
  /** Share of the statements of tail and relay whose connection breaks. */
  readonly brokenStatements: number
  /** Share of the marks that never arrive. */
  readonly lostMarks: number
  readonly failingLoads: number
  /** Share of the COMMITs of which nobody learns what became of them. */
  readonly unknownCommits: number
  /** Rows are soon removed. */
  readonly isForgetful: boolean
  readonly ttl: string
  readonly pollIntervalMs: number
  readonly weights: Readonly<Record<Act['kind'], number>>
}

export type EvictedPart = 'fence' | 'value' | 'both' | 'barrier' | 'all'
export type LogTrouble = 'drop' | 'repeat' | 'rebalance' | 'stop' | 'start'

export type Act = {
  /** Which act of the whole schedule it is: what is drawn for it hangs on that. */
  readonly number: number
  readonly afterMs: number
} & (
  | {
      readonly kind: 'write'
      readonly process: number
      readonly ids: readonly number[]
      readonly how: 'commit' | 'roll back' | 'roll back to a savepoint'
      readonly openMs: number
      readonly reject: boolean
      readonly everywhere: boolean
    }
  /** SQL of somebody who doesn't know the cache: triggers tell. */
  | {
      readonly kind: 'foreign write'
      readonly id: number
      readonly openMs: number
      readonly isRolledBack: boolean
    }
  /** SQL that no trigger tells of, and a call of `invalidate` when it has committed. */
  | { readonly kind: 'invalidate'; readonly process: number; readonly id: number }
  /** A transaction that does nothing, for long. */
  | { readonly kind: 'idle transaction'; readonly openMs: number }
  | {
      readonly kind: 'read'
      readonly process: number
      readonly id: number
      readonly demand: 'bounded' | 'strong' | 'ticket' | 'tickets'
    }
  | {
      readonly kind: 'read all'
      readonly process: number
      readonly consistency: 'bounded' | 'strong'
    }
  | { readonly kind: 'evict'; readonly id: number; readonly part: EvictedPart }
  /** Another Redis takes over, which remembers what that one did some time ago. */
  | { readonly kind: 'fail over Redis'; readonly howLongAgo: number }
  | { readonly kind: 'crash PostgreSQL' }
  /** A standby that has not replayed everything takes over. */
  | { readonly kind: 'fail over PostgreSQL' }
  | {
      readonly kind: 'step a clock'
      readonly of: number | 'redis' | 'database'
      readonly ms: number
    }
  | { readonly kind: 'suspend'; readonly ms: number }
  | { readonly kind: 'stop'; readonly process: number; readonly ms: number }
  /** Killed after so many more of its calls have left or come back; another one takes its place. */
  | { readonly kind: 'kill'; readonly process: number; readonly afterSteps: number }
  | {
      readonly kind: 'cut off'
      readonly process: number
      readonly from: 'redis' | 'database'
      readonly ms: number
    }
  | { readonly kind: 'end relay' }
  | { readonly kind: 'log'; readonly trouble: LogTrouble }
)

export type ActOf<Kind extends Act['kind']> = Extract<Act, { readonly kind: Kind }>
/** What somebody in a process asks of its cache. */
export type CallAct = ActOf<'write' | 'invalidate' | 'read' | 'read all'>

export function isCall(act: Act): act is CallAct {
  return ['write', 'invalidate', 'read', 'read all'].includes(act.kind)
}

export interface Schedule {
  readonly seed: number
  readonly scenario: Scenario
  readonly acts: readonly Act[]
}

/** Short, so that a schedule is many of them. */
export const timing = {
  stalenessBound: '200ms',
  redisDeadline: '60ms',
  loadDeadline: '150ms',
  readDeadline: '600ms',
  writeDeadline: '400ms',
  tombstoneRetention: '2s',
  delayedDelete: '100ms',
} as const

const kinds = {
  write: 45,
  'foreign write': 12,
  invalidate: 3,
  'idle transaction': 1,
  read: 60,
  'read all': 8,
} as const

/** Each is in some schedules only: what happens always hides what happens seldom. */
const troubles = {
  evict: 6,
  'fail over Redis': 3,
  'crash PostgreSQL': 1.5,
  'fail over PostgreSQL': 1,
  'step a clock': 2,
  suspend: 1,
  stop: 2.5,
  kill: 2.5,
  'cut off': 2.5,
  'end relay': 4,
  log: 10,
} as const

function drawScenario(seed: number): Scenario {
  const chance = new Chance(seed).of('scenario')
  const isCalm = chance.hits(0.1)
  const some = (share: number): number => (!isCalm && chance.hits(0.4) ? share : 0)
  const hasLog = chance.hits(0.4)
  const weights: Record<string, number> = { ...kinds }
  for (const [kind, weight] of Object.entries(troubles)) weights[kind] = some(weight)
  if (!hasLog) weights.log = 0
  const hasL2 = hasLog || !chance.hits(0.1)
  if (!hasL2) for (const kind of ['evict', 'fail over Redis']) weights[kind] = 0
  return {
    processes: 3,
    ids: chance.pick([2, 3, 3, 4]),
    hasL2,
    hasLog,
    foreignWrites: chance.hits(0.25),
    isolation: chance.pick(['read committed', 'repeatable read']),
    writeThrough: chance.pick([0, 1, 3]),
    hasVersions: chance.hits(0.2),
    hasReplicas: some(1) > 0,
    isDeaf: chance.hits(0.4),
    delaysMs: chance.pick([
      [0, 0, 0, 1],
      [0, 0, 0, 1, 3, 10],
      [0, 0, 0, 1, 3, 10, 40, 120],
    ]),
    lostCalls: some(0.06),
    brokenStatements: some(0.08),
    lostMarks: some(0.2),
    failingLoads: some(0.03),
    unknownCommits: some(0.05),
    isForgetful: chance.hits(0.5),
    ttl: chance.pick(['3s', '10m', '10m']),
    pollIntervalMs: chance.pick([100, 100, 100, 100, 50]),
    weights: weights as Scenario['weights'],
  }
}

export interface DrawOptions {
  readonly acts?: number
  readonly scenario?: Partial<Omit<Scenario, 'weights'>> & {
    readonly weights?: Partial<Scenario['weights']>
  }
}

export function drawSchedule(
  seed: number,
  { acts = 300, scenario = {} }: DrawOptions = {},
): Schedule {
  const drawn = drawScenario(seed)
  const weights = { ...drawn.weights, ...scenario.weights }
  const whole: Scenario = { ...drawn, ...scenario, weights }
  const chance = new Chance(seed).of('acts')
  const total = Object.values(weights).reduce((sum, weight) => sum + weight, 0)
  const kindAt = (place: number): Act['kind'] => {
    let left = place
    for (const [kind, weight] of Object.entries(weights)) {
      left -= weight
      if (left < 0) return kind as Act['kind']
    }
    return 'read'
  }
  return {
    seed,
    scenario: whole,
    acts: Array.from({ length: acts }, (_, number) =>
      drawAct(kindAt(chance.next() * total), number, whole, chance),
    ),
  }
}

function drawAct(kind: Act['kind'], number: number, scenario: Scenario, chance: Chance): Act {
  const when = { number, afterMs: chance.pick([0, 0, 0, 0, 0, 0, 1, 2, 5, 15, 40, 80]) }
  const process = chance.below(scenario.processes)
  const id = 1 + chance.below(scenario.ids)
  const openMs = chance.pick([0, 0, 0, 1, 5, 30, 120])
  switch (kind) {
    case 'write': {
      const other = 1 + chance.below(scenario.ids)
      const ids = chance.hits(0.15) ? [...new Set([id, other])].toSorted((a, b) => a - b) : [id]
      const fate = chance.next()
      const how = fate < 0.82 ? 'commit' : fate < 0.92 ? 'roll back' : 'roll back to a savepoint'
      const reject = chance.hits(0.3)
      return { ...when, kind, process, ids, how, openMs, reject, everywhere: chance.hits(0.03) }
    }
    case 'foreign write':
      return {
        ...when,
        kind,
        id,
        openMs: chance.hits(0.1) ? chance.pick([500, 1_500, 3_000]) : openMs,
        isRolledBack: chance.hits(0.15),
      }
    case 'invalidate':
      return { ...when, kind, process, id }
    case 'idle transaction':
      return { ...when, kind, openMs: chance.pick([50, 300, 1_500, 5_000]) }
    case 'read': {
      const demand = chance.pick([
        'bounded',
        'bounded',
        'bounded',
        'strong',
        'strong',
        'ticket',
        'tickets',
        'tickets',
      ] as const)
      return { ...when, kind, process, id, demand }
    }
    case 'read all':
      return { ...when, kind, process, consistency: chance.pick(['bounded', 'strong']) }
    case 'evict':
      return {
        ...when,
        kind,
        id,
        part: chance.pick(['fence', 'fence', 'value', 'both', 'barrier', 'all']),
      }
    case 'fail over Redis':
      return { ...when, kind, howLongAgo: chance.pick([1, 2, 5, 30, 300]) }
    case 'crash PostgreSQL':
    case 'fail over PostgreSQL':
    case 'end relay':
      return { ...when, kind }
    case 'step a clock': {
      const of = chance.pick(['redis', 'database', process, process] as const)
      return {
        ...when,
        kind,
        of,
        ms: chance.pick([-120_000, -3_600_000, -500, -150, 150, 500, 1_900, 70_000, 3_600_000]),
      }
    }
    case 'suspend':
      return { ...when, kind, ms: chance.pick([100, 300, 5_000, 400_000]) }
    case 'stop':
      return { ...when, kind, process, ms: chance.pick([20, 150, 250, 300, 700, 4_000, 8_000]) }
    case 'kill':
      return { ...when, kind, process, afterSteps: chance.below(24) }
    case 'cut off': {
      const from = chance.pick(['redis', 'database'] as const)
      return { ...when, kind, process, from, ms: chance.pick([50, 150, 300, 900]) }
    }
    case 'log':
      return {
        ...when,
        kind,
        trouble: chance.pick([
          'drop',
          'drop',
          'drop',
          'repeat',
          'rebalance',
          'stop',
          'start',
          'start',
        ]),
      }
    default:
      kind satisfies never
      throw new Error(`no such act: ${kind as string}`)
  }
}
