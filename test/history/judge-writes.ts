/** Writes: what they were told is what PostgreSQL has; and in the end every place has it. */
import {
  type Accusations,
  eventOfWrite,
  eventsOfWrite,
  nameOfWrite,
  type Rule,
} from './accusations.ts'
import { isAcknowledged, type KnownWrite, type Recorded, type Row } from './record.ts'

export function judgeWrites({ rows, writes }: Recorded, accusations: Accusations): void {
  const accuse = (rule: Rule, write: KnownWrite, what: string, other?: KnownWrite): void => {
    const others = eventsOfWrite(other)
    const sentence = `${nameOfWrite(write)} ${what}`
    accusations.add({ rule, id: write.id, what: sentence, main: eventOfWrite(write), others })
  }
  const versions = new Map<KnownWrite, number>()
  for (const row of rows.values()) {
    for (const [version, write] of row.writes.entries()) {
      if (!write) continue
      const first = versions.get(write)
      if (first !== undefined) {
        accuse('told', write, `committed twice, as versions ${first} and ${version}`)
      }
      versions.set(write, version)
    }
    for (const [earlier, later] of outOfOrder(row)) {
      const versions = `with version ${later.saidVersion} before it began`
      accuse('told', earlier, `made an older version than one that had returned ${versions}`, later)
    }
  }
  for (const write of writes) {
    const made = versions.get(write)
    const { outcome, saidVersion } = write
    if (outcome === 'failed' && made !== undefined) {
      accuse('told', write, `was told that it failed, and made version ${made}`)
    }
    if (!isAcknowledged(write) || made === saidVersion) continue
    if (made === undefined) {
      accuse('I2', write, `returned version ${saidVersion}, and PostgreSQL has no trace of it`)
    } else {
      accuse('told', write, `was told that it made version ${saidVersion}, and made ${made}`)
    }
  }
}

/** Writes of a row whose versions stand the other way round than the calls, which did not overlap. */
function* outOfOrder({ writes }: Row): Generator<readonly [KnownWrite, KnownWrite]> {
  let firstOver: KnownWrite | undefined
  for (const write of [...writes].reverse()) {
    if (!write) continue
    if (firstOver && firstOver.end < write.begin) yield [write, firstOver]
    if (isAcknowledged(write) && !(firstOver && firstOver.end <= write.end)) firstOver = write
  }
}

export function judgeEnd({ rows, left }: Recorded, accusations: Accusations): void {
  for (const { id, process, tier, version, proven, line } of left) {
    const row = rows.get(id) as Row
    if (version === row.version) continue
    const is = version < row.version ? 'an old version' : 'a version that never committed'
    const what = `in the end, when all was quiet, process ${process} had ${is} of id ${id} in ${tier}: ${version}, and PostgreSQL has ${row.version}`
    const answer = `process ${process} has version ${version} in ${tier}, ${proven ? 'proven' : 'unproven'}`
    const main = { process, lines: [line], what: answer }
    accusations.add({ rule: 'I1', id, what, main, others: eventsOfWrite(row.writes[version + 1]) })
  }
}
