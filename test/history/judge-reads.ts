/** Reads: each is held to what its tier and its options promise (docs/consistency.md). */
import {
  type Accusations,
  eventOfRead,
  eventOfWrite,
  eventsOfWitness,
  eventsOfWrite,
  nameOfRead,
  type Rule,
} from './accusations.ts'
import type { ReadLine } from './format.ts'
import { isAcknowledged, type KnownWrite, type Recorded, type Row } from './record.ts'
import { type RedisLosses, redisLosses } from './redis-losses.ts'
import { StrongReads, type WentBack } from './strong-reads.ts'

/** One read, with all that is known of its row. */
interface Case {
  readonly read: ReadLine
  readonly line: number
  readonly row: Row
}

const nsPerMs = 1e6
const never = Number.POSITIVE_INFINITY

export class ReadJudge {
  readonly #recorded: Recorded
  readonly #accusations: Accusations
  readonly #losses: RedisLosses
  readonly #boundNs: number
  readonly #strongReads = new StrongReads()
  #maxStaleNs = 0
  #stalestNs = 0

  constructor(recorded: Recorded, accusations: Accusations) {
    this.#recorded = recorded
    this.#accusations = accusations
    this.#losses = redisLosses(recorded.faults)
    this.#boundNs = recorded.header.boundMs * nsPerMs
  }

  /** Of bounded reads from L1 and of proven ones: how long before one began a write had surely committed that it missed. */
  get maxStaleMs(): number {
    return Number((this.#maxStaleNs / nsPerMs).toFixed(3))
  }

  /** The same of all bounded reads, those that say that they prove nothing too. */
  get stalestMs(): number {
    return Number((this.#stalestNs / nsPerMs).toFixed(3))
  }

  judge(read: ReadLine, line: number): void {
    const one: Case = { read, line, row: this.#recorded.rows.get(read.id) as Row }
    if (!this.#isAValue(one)) return
    if (read.version < read.ticket) this.#missedTicket(one)
    if (read.consistency === 'bounded') this.#judgeBounded(one)
    else {
      this.#judgeStrong(one)
      this.#strongReads.add(read, line)
    }
  }

  /** To be called when all reads have been judged: what one strong read saw, a later one sees. */
  judgeTogether(): void {
    for (const pair of this.#strongReads.wentBack()) this.#judgePair(pair)
  }

  /** Was it ever there to be read, and that early? */
  #isAValue(one: Case): boolean {
    const { read, row } = one
    const { version, writer, consistency, end } = read
    if (version > row.version) {
      const has = `PostgreSQL has ${row.version}`
      this.#accuse('value', one, `saw version ${version}, which never committed: ${has}`)
      return false
    }
    const tag = version === 0 ? null : row.tags[version]
    if (tag !== 'x' && writer !== tag) {
      const whose = `as written by ${writer ?? 'nobody'}, and it is by ${tag ?? 'nobody'}`
      this.#accuse('value', one, `saw version ${version} ${whose}`)
      return false
    }
    const write = row.writes[version]
    if (!write || write.begin <= end) return true
    const rule = consistency === 'strong' ? 'I4' : 'value'
    this.#accuse(rule, one, `saw version ${version}, whose write had not begun`, write)
    return false
  }

  #missedTicket(one: Case): void {
    const { ticket, version } = one.read
    const what = `saw version ${version}, and its ticket is of version ${ticket}`
    this.#accuse('I10', one, what, one.row.writes[ticket])
  }

  #judgeBounded(one: Case): void {
    const { tier, proven } = one.read
    if (tier === 'l1') this.#judgeEverywhere(one)
    const staleNs = staleNsOf(one)
    this.#stalestNs = Math.max(this.#stalestNs, staleNs)
    if (tier === 'l1' || proven) this.#maxStaleNs = Math.max(this.#maxStaleNs, staleNs)
    const isHeld = tier !== 'l2' || proven || this.#isForeign(one.read.id)
    if (!isHeld) this.#judgeUnproven(one)
    else if (staleNs > this.#boundNs) this.#beyondBound('I3', one, staleNs)
  }

  #judgeEverywhere(one: Case): void {
    const { read, row } = one
    if ((row.everywhereEnds[read.version + 1] ?? never) >= read.begin) return
    const missed = row.writes
      .slice(read.version + 1)
      .find((write) => write?.isEverywhere && isAcknowledged(write) && write.end < read.begin)
    const why = 'had waited for all instances before it began'
    this.#accuse('everywhere', one, `missed version ${missed?.saidVersion}, which ${why}`, missed)
  }

  #isForeign(id: number): boolean {
    const { foreignWrites } = this.#recorded.header
    return typeof foreignWrites === 'boolean' ? foreignWrites : foreignWrites.includes(id)
  }

  /** Without a proof Redis may miss what it was not told of, and nothing else as long as it keeps that. */
  #judgeUnproven(one: Case): void {
    const { read, row } = one
    const since = read.begin - this.#boundNs
    const missed = firstFencedMissed(row, read.version, since, ({ begin }) =>
      this.#losses.anything.touch(begin, read.end),
    )
    if (!missed) return
    const why = 'had returned fenced more than the bound before, and Redis has lost nothing since'
    this.#accuse('I1', one, `missed version ${missed.saidVersion}, which ${why}`, missed)
  }

  #judgeStrong(one: Case): void {
    const { read, row } = one
    const staleNs = staleNsOf(one)
    if (staleNs > this.#boundNs) {
      this.#beyondBound('I4', one, staleNs)
      return
    }
    const missed = firstFencedMissed(row, read.version, read.begin, ({ begin }) =>
      this.#losses.goneBack.touch(begin, read.end),
    )
    if (!missed) return
    const why = 'had returned fenced before it began'
    this.#accuse('I4', one, `missed version ${missed.saidVersion}, which ${why}`, missed)
  }

  #judgePair([first, second]: WentBack): void {
    const { read } = second
    const row = this.#recorded.rows.get(read.id) as Row
    const missed = row.writes
      .slice(read.version + 1, first.read.version + 1)
      // What had returned before has been judged with the read itself.
      .filter((write) => write?.outcome === 'fenced' && write.end >= read.begin)
      .find((write) => !this.#losses.anything.touch((write as KnownWrite).begin, read.end))
    if (!missed) return
    this.#accusations.add({
      rule: 'I4',
      id: read.id,
      what: `${nameOfRead(read)} saw version ${read.version}, after a strong read had seen ${first.read.version}`,
      main: eventOfRead(read, second.line),
      others: [eventOfWrite(missed), eventOfRead(first.read, first.line)],
    })
  }

  #beyondBound(rule: 'I3' | 'I4', { read, line, row }: Case, staleNs: number): void {
    const missed = read.version + 1
    const write = row.writes[missed]
    const stale = `at least ${(staleNs / nsPerMs).toFixed(1)} ms before it began`
    const bound = `the bound is ${this.#recorded.header.boundMs} ms`
    this.#accusations.add({
      rule,
      id: read.id,
      what: `${nameOfRead(read)} saw version ${read.version}, and version ${missed} had committed ${stale}; ${bound}`,
      main: eventOfRead(read, line),
      others: [...eventsOfWrite(write), ...eventsOfWitness(row.witnesses[missed], write)],
    })
  }

  #accuse(rule: Rule, { read, line }: Case, what: string, write?: KnownWrite): void {
    this.#accusations.add({
      rule,
      id: read.id,
      what: `${nameOfRead(read)} ${what}`,
      main: eventOfRead(read, line),
      others: eventsOfWrite(write),
    })
  }
}

/** How long before the read a version had certainly committed that is newer than what it saw. */
function staleNsOf({ read, row }: Case): number {
  const witness = row.witnesses[read.version + 1]
  return witness ? Math.max(0, read.begin - witness.at) : 0
}

/** The first version that is newer, had returned fenced before that time, and isn't excused. */
function firstFencedMissed(
  row: Row,
  version: number,
  before: number,
  isExcused: (write: KnownWrite) => boolean,
): KnownWrite | undefined {
  if ((row.fencedEnds[version + 1] ?? never) >= before) return undefined
  return row.writes
    .slice(version + 1)
    .find((write) => write?.outcome === 'fenced' && write.end < before && !isExcused(write))
}
