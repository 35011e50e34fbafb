/**
 * What `lockstep doctor` makes of what it was told: facts of the places in, rows out. Pure, so that each
 * way in which a configuration may be broken is a test without a service.
 */
import type { Answers, DoctorPlace, DoctorRow, DoctorState, Inspection } from '../model/doctor.ts'
import type { Failure, FailureKind } from '../model/failure.ts'

/** What stands in docs/doctor.md of a check. */
export interface CheckTexts {
  readonly looksAt: string
  /** Why it matters. */
  readonly because: string
  /** What to do, unless a verdict says it more exactly. */
  readonly remedy: string
}

export interface Verdict {
  readonly state: DoctorState
  readonly found: string
  readonly because?: string
  readonly remedy?: string
}

/** What a verdict may need to know beside the facts of its place. */
export interface Surroundings {
  readonly namespace: string
  readonly hasRedis: boolean
  /** As the database would have it; `undefined`: the settings of Kafka won't do. */
  readonly plane: string | undefined
  /** Flags of this process' environment. */
  readonly overrides: readonly string[]
  readonly outboxRetentionMs: number
}

export interface Check<Facts> extends CheckTexts {
  readonly judge: (facts: Answers<Facts>, around: Surroundings) => readonly Verdict[]
}

export interface PlaceChecks<Facts> {
  readonly place: DoctorPlace
  readonly reach: Reach
  readonly checks: Readonly<Record<string, Check<Facts>>>
}

/** `remedies`: by why it can't be reached, where there is more to say than `remedy` has. */
interface Reach extends CheckTexts {
  /** The variable that says where it is. */
  readonly variable: string
  readonly remedies: Readonly<Partial<Record<FailureKind, string>>>
}

export const ok = (found: string): Verdict => ({ state: 'ok', found })
export const warning = (found: string, remedy?: string): Verdict =>
  verdict('warning', found, remedy)
export const broken = (found: string, remedy?: string): Verdict => verdict('broken', found, remedy)
export const skipped = (found: string): Verdict => ({ state: 'skipped', found })

function verdict(state: DoctorState, found: string, remedy: string | undefined): Verdict {
  return { state, found, ...(remedy === undefined ? {} : { remedy }) }
}

/** Checks that look at one fact each. Without an answer there is no verdict. */
export function checksOn<Facts>() {
  return <Fact extends keyof Facts>(
    fact: Fact,
    texts: CheckTexts,
    judge: (value: Facts[Fact], around: Surroundings) => Verdict | readonly Verdict[],
  ): Check<Facts> => ({
    ...texts,
    judge: (facts, around) => {
      const answer = facts[fact]
      if (!answer.isKnown) return [skipped(`it can't be told: ${answer.why}`)]
      return [judge(answer.value, around)].flat()
    },
  })
}

/** A row at least for each check of the place. */
export function judgePlace<Facts>(
  { place, reach, checks }: PlaceChecks<Facts>,
  inspection: Inspection<Facts>,
  around: Surroundings,
): readonly DoctorRow[] {
  const reached = `${place}-reachable`
  if (inspection.kind === 'reached') {
    return [
      rowOf(place, reached, reach, ok(inspection.found)),
      ...judgeFacts(place, checks, inspection.facts, around),
    ]
  }
  const isAbsent = inspection.kind === 'not asked'
  const first = isAbsent
    ? skipped(inspection.why)
    : unreachable(inspection.at, inspection.failure, reach)
  const why = isAbsent ? inspection.why : `${reached} has the reason`
  return [
    rowOf(place, reached, reach, first),
    ...Object.entries(checks).map(([id, texts]) => rowOf(place, id, texts, skipped(why))),
  ]
}

export function judgeFacts<Facts>(
  place: DoctorPlace,
  checks: Readonly<Record<string, Check<Facts>>>,
  facts: Answers<Facts>,
  around: Surroundings,
): readonly DoctorRow[] {
  return Object.entries(checks).flatMap(([id, check]) =>
    check.judge(facts, around).map((one) => rowOf(place, id, check, one)),
  )
}

function rowOf(place: DoctorPlace, check: string, texts: CheckTexts, verdict: Verdict): DoctorRow {
  const { state, found, because = texts.because, remedy = texts.remedy } = verdict
  const isWell = state === 'ok' || state === 'skipped'
  return { place, check, state, found, ...(isWell ? {} : { because, remedy }) }
}

/** The worst of them. */
export function stateOf(rows: readonly DoctorRow[]): DoctorState {
  const worst = (['broken', 'warning'] as const).find((state) =>
    rows.some((row) => row.state === state),
  )
  return worst ?? 'ok'
}

// ---------------------------------------------------------------- what can't be reached

const words: Readonly<Record<FailureKind, (at: string) => string>> = {
  refused: (at) => `nobody listens at ${at}`,
  name: (at) => `nobody knows the host of ${at}`,
  route: (at) => `there is no way to ${at}`,
  silent: (at) => `${at} does not answer`,
  cut: (at) => `${at} closes the connection`,
  tls: (at) => `TLS with ${at} fails`,
  password: (at) => `${at} takes neither this user nor this password`,
  rights: (at) => `${at} refuses this user`,
  database: (at) => `there is no such database at ${at}`,
  full: (at) => `${at} takes no more connections`,
  starting: (at) => `${at} is starting or ending`,
  stranger: (at) => `something else answers at ${at}`,
  other: (at) => `${at} could not be asked`,
}

const remedies: Readonly<Partial<Record<FailureKind, (variable: string) => string>>> = {
  refused: (variable) => `start it, or correct host and port in ${variable}`,
  name: (variable) => `correct the host in ${variable}, or the resolver of this machine`,
  route: (variable) => `correct the host in ${variable}, or open the way to it (network, firewall)`,
  silent: (variable) =>
    `look whether it hangs, and whether a firewall drops what is sent to it; or correct ${variable}`,
  cut: (variable) => `look into its log; it may want TLS, or none: ${variable} says which`,
  tls: () =>
    'trust its certificate with NODE_EXTRA_CA_CERTS=/path/to/ca.pem, and name the host as the certificate does',
  password: (variable) =>
    `correct user and password in ${variable}; characters other than letters, digits and -._~ are written as %XX in a URL`,
  stranger: (variable) => `correct host and port in ${variable}`,
  starting: () => 'wait until it has started, and ask again',
}

function unreachable(at: string, { kind, detail }: Failure, reach: Reach): Verdict {
  const remedy = reach.remedies[kind] ?? remedies[kind]?.(reach.variable) ?? reach.remedy
  return broken(`${words[kind](at)} (${detail})`, remedy)
}
