/** Both implementations of the outbox, each as one instance has it, and short forms for what is done to them. */
import { systemClock } from '../../src/model/clock.ts'
import type {
  Asked,
  Claim,
  Destination,
  Outbox,
  OutboxRow,
  Poll,
  Progress,
  RowPage,
} from '../../src/model/outbox-port.ts'
import type { Snapshot } from '../../src/model/snapshot.ts'
import type { Recorded, Transaction } from '../../src/model/source-port.ts'
import { MemoryDatabase, memorySource } from '../support/ports.ts'
import { until } from '../support/world.ts'
import { never, openPostgresPlace } from './postgres-place.ts'

/** One instance's outbox, and writers beside it. */
export interface OutboxPlace {
  readonly outbox: Outbox
  poll(since?: Snapshot): Promise<Poll>
  begin(): Promise<Pick<Transaction<unknown>, 'record' | 'commit' | 'rollback'>>
  write(...ids: string[]): Promise<Recorded>
  /** SQL of somebody who doesn't know the cache, with its row. */
  writeForeign(id: string): Promise<void>
  another(): Promise<OutboxPlace>
}

/** What the namespace has besides the outbox. */
export interface PlaceOptions {
  readonly hasL2?: boolean
  readonly hasLog?: boolean
}

export const implementations: readonly [string, (o?: PlaceOptions) => Promise<OutboxPlace>][] = [
  ['PostgreSQL', openPostgresPlace],
  ['memory', async (options) => openMemory(options)],
]

function openMemory({ hasL2 = true, hasLog = false }: PlaceOptions = {}): OutboxPlace {
  const database = new MemoryDatabase({
    clock: systemClock,
    namespaceHasL2: hasL2,
    namespaceHasLog: hasLog,
    versions: new Map([['thing', [1]]]),
  })
  const source = memorySource(database)
  const place: OutboxPlace = {
    outbox: database,
    poll: (since) => database.poll(since, never),
    begin: () => source.begin(never),
    write: async (...ids) => {
      const transaction = await source.begin(never)
      const recorded = await transaction.record([{ entity: 'thing', ids }])
      await transaction.commit()
      return recorded
    },
    writeForeign: async (id) => {
      database.putByTrigger('thing', id, {})
    },
    another: async () => place,
  }
  return place
}

/** A transaction that has its outbox row, and is open. */
export async function open(place: OutboxPlace, ...ids: string[]) {
  const transaction = await place.begin()
  const recorded = await transaction.record([{ entity: 'thing', ids }])
  return { ...recorded, commit: () => transaction.commit(), rollback: () => transaction.rollback() }
}

/** So many rows, of one write. */
export async function writeRows(place: OutboxPlace, count: number, id = 'row'): Promise<void> {
  const transaction = await place.begin()
  await transaction.record(
    Array.from({ length: count }, (_, index) => ({ entity: 'thing', ids: [`${id} ${index}`] })),
  )
  await transaction.commit()
}

type Claimer = Pick<OutboxPlace, 'outbox'>

/** The rows that one claim hands out, of any age; all of them are marked. */
export function claimAll(place: Claimer, destination?: Destination): Promise<readonly string[]> {
  return claim(place, destination, (rows) => rows)
}

/** The same, and none is marked. */
export function owed(place: Claimer, destination?: Destination): Promise<readonly string[]> {
  return claim(place, destination, () => [])
}

async function claim(
  { outbox }: Claimer,
  destination: Destination = 'l2',
  told: (rows: readonly OutboxRow[]) => readonly OutboxRow[],
): Promise<readonly string[]> {
  let ids: readonly string[] = []
  const tell = async ({ rows }: Claim): Promise<readonly string[]> => {
    ids = idsOf(rows)
    return told(rows).map(({ rowId }) => rowId)
  }
  await outbox.claim(destination, 0, tell, never)
  return ids
}

/** How far the destinations are, as whoever relays asks; it relays from then on. */
export async function progress({ outbox }: Claimer, asked: Asked = {}): Promise<Progress> {
  // Who resigned a moment ago may not have been let go yet.
  await until('it relays', () => outbox.lead('relay', never))
  return outbox.progress(asked, never)
}

/** All rows, page by page, in the order in which they come. */
export async function allPages(
  { outbox }: Claimer,
  since?: Snapshot,
  until?: Snapshot,
  between: (page: RowPage) => Promise<unknown> = async () => {},
): Promise<readonly OutboxRow[]> {
  const rows: OutboxRow[] = []
  let after: string | undefined
  do {
    const page = await outbox.page(since, until, after, never)
    rows.push(...page.rows)
    after = page.next
    await between(page)
  } while (after !== undefined)
  return rows
}

export function idsOf(rows: readonly OutboxRow[]): readonly string[] {
  return rows.flatMap(({ ids }) => ids).sort()
}
