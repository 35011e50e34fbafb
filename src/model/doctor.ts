/**
 * What `lockstep doctor` learns of each place, and what it says. Places are only looked at: they answer
 * with facts (`Inspection`), and what the facts mean is decided without any service (`operations/doctor.ts`).
 */
import type { Clock } from './clock.ts'
import { messageOf } from './errors.ts'
import type { Failure } from './failure.ts'

export type DoctorPlace = 'config' | 'postgres' | 'redis' | 'kafka' | 'prometheus' | 'lockstep'

/** `skipped`: it could not be looked at, or there is nothing to look at. */
export type DoctorState = 'ok' | 'warning' | 'broken' | 'skipped'

export interface DoctorRow {
  readonly place: DoctorPlace
  readonly check: string
  readonly state: DoctorState
  readonly found: string
  readonly because?: string
  readonly remedy?: string
}

/** One question may stay without an answer, as for want of a right, while others have theirs. */
export type Answer<T> =
  | { readonly isKnown: true; readonly value: T }
  | { readonly isKnown: false; readonly why: string }

export type Answers<Facts> = { readonly [Fact in keyof Facts]: Answer<Facts[Fact]> }

export type Inspection<Facts> =
  | { readonly kind: 'not asked'; readonly why: string }
  /** `at`: host and port. */
  | { readonly kind: 'unreachable'; readonly at: string; readonly failure: Failure }
  /** `found`: what answers there. */
  | { readonly kind: 'reached'; readonly found: string; readonly facts: Answers<Facts> }

export function known<T>(value: T): Answer<T> {
  return { isKnown: true, value }
}

/** Never rejects. */
export async function answerTo<T>(question: () => Promise<T>): Promise<Answer<T>> {
  try {
    return known(await question())
  } catch (error) {
    return { isKnown: false, why: messageOf(error) }
  }
}

/** Theirs minus ours, and how exact that is. */
export interface ClockFacts {
  readonly offsetMs: number
  readonly roundTripMs: number
}

/** `ask`: what their clock shows, in milliseconds since 1970. */
export async function compareClocks(clock: Clock, ask: () => Promise<number>): Promise<ClockFacts> {
  const [wallMs, sentAtMs] = [clock.wallMs(), clock.monotonicMs()]
  const theirMs = await ask()
  const roundTripMs = clock.monotonicMs() - sentAtMs
  return { roundTripMs, offsetMs: theirMs - (wallMs + roundTripMs / 2) }
}

// ---------------------------------------------------------------- PostgreSQL

export interface PostgresFacts {
  readonly server: ServerFacts
  /** `refusal`: what it says to a transaction. */
  readonly pooler: { readonly isThere: boolean; readonly refusal: string | undefined }
  /** Versions of the schema `lockstep`; 0: there is none. */
  readonly schema: { readonly present: number; readonly newest: number }
  /** Statements that would give the role what it lacks. */
  readonly rights: { readonly role: string; readonly grants: readonly string[] }
  readonly transactions: {
    readonly old: readonly OldTransaction[]
    /** Sessions that this role may not look into. */
    readonly hidden: number
  }
  readonly prepared: readonly { readonly name: string; readonly seconds: number }[]
  readonly clock: ClockFacts
  readonly triggers: readonly TriggerFacts[]
  readonly namespace: NamespaceFacts
  readonly flags: readonly FlagFacts[]
  /** Names the database, for as long as it lives. */
  readonly database: string
}

export interface ServerFacts {
  /** As 150020. */
  readonly versionNumber: number
  readonly version: string
  readonly isStandby: boolean
  readonly isReadOnly: boolean
  /** Settings that are off, of those that a crash asks for. */
  readonly offInCrash: readonly string[]
  readonly connections: number
  /** Without those that are kept for superusers. */
  readonly mostConnections: number
}

export interface OldTransaction {
  readonly pid: number
  readonly user: string
  readonly application: string
  readonly state: string
  readonly seconds: number
}

interface TriggerFacts {
  readonly table: string
  readonly entity: string
  readonly id: string
  readonly lacking: readonly string[]
  readonly notAlways: readonly string[]
  readonly problem?: string
}

export interface NamespaceFacts {
  /** Some cache has had it. */
  readonly isKnown: boolean
  /** All others, up to a bound. */
  readonly others: readonly string[]
  readonly hasL2: boolean
  /** As the database has it; `undefined`: not settled yet. */
  readonly plane: string | undefined
  readonly instances: readonly {
    readonly name: string
    readonly silentSeconds: number
    /** Flags that it has by its environment. */
    readonly overrides: readonly string[]
  }[]
  readonly isRelayed: boolean
  readonly owedToRedis: Owed
  readonly owedToKafka: Owed
}

interface Owed {
  /** Counted up to a bound. */
  readonly rows: number
  readonly oldestSeconds: number
}

export interface FlagFacts {
  readonly flag: string
  readonly scope: string
  readonly reason: string
  readonly author: string
  readonly by: string
  readonly until: string
}

// ---------------------------------------------------------------- Redis

export interface RedisFacts {
  readonly server: RedisServerFacts
  readonly clock: ClockFacts
  /** Commands that the user may not use on keys, or the channel, of the namespace. */
  readonly rights: { readonly denied: readonly string[] }
  /** What a script that would change nothing is told; `undefined`: it was run. */
  readonly write: { readonly refusal: string | undefined }
  /** As CLUSTER INFO has it; `undefined`: it is no cluster. */
  readonly cluster: { readonly state: string | undefined }
  /** Bytes a listener may be behind before it is cut off: at once, and for so many seconds. */
  readonly pubsub: {
    readonly hardBytes: number
    readonly softBytes: number
    readonly softSeconds: number
  }
  /** Which database the namespace belongs to, as Redis has it. */
  readonly claim: string | undefined
}

export interface RedisServerFacts {
  readonly version: string
  readonly mode: string
  readonly isReplica: boolean
  readonly replicas: number
  /** A write needs some of them (`min-replicas-to-write`). */
  readonly needsReplicas: boolean
  readonly isLoading: boolean
  readonly usedBytes: number
  /** 0: there is no limit. */
  readonly mostBytes: number
  readonly policy: string
  readonly residentBytes: number
  readonly clients: number
  readonly mostClients: number
}

// ---------------------------------------------------------------- Kafka

export interface KafkaFacts {
  readonly brokers: { readonly count: number; readonly hasController: boolean }
  readonly log: TopicFacts
  /** Of the topic of the log; empty while it is not there. */
  readonly settings: Readonly<Record<string, string>>
  readonly deadLetters: TopicFacts
}

export interface TopicFacts {
  readonly topic: string
  /** The user may not even ask for it. */
  readonly isBarred: boolean
  /** `undefined`: the topic is not there, or barred. */
  readonly partitions: readonly PartitionFacts[] | undefined
}

export interface PartitionFacts {
  readonly hasLeader: boolean
  readonly copies: number
  readonly inSync: number
}

// ---------------------------------------------------------------- Prometheus

export interface PrometheusFacts {
  readonly clock: ClockFacts
  /** What the question that breakers go by comes to. */
  readonly query: { readonly reason: string | undefined; readonly detail: string }
  readonly scraped: {
    readonly instances: number
    /** `undefined`: there is no sample. */
    readonly ageSeconds: number | undefined
    /** Instances whose label `namespace` was renamed by the scrape. */
    readonly renamed: number
  }
}
