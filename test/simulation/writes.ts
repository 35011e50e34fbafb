/** Writes of a schedule: through the cache, and past it. */
import { LockstepError } from '../../src/model/errors.ts'
import type { MemoryTx } from '../../src/testing/memory-source.ts'
import type { Version } from './oracle.ts'
import type { Item, SimulatedProcess } from './process.ts'
import type { ActOf } from './schedule.ts'
import { type Stage, writeTimeoutMs } from './stage.ts'
import { OpenTransaction, openTransactionOf } from './transactions.ts'

/** Through the cache. */
export async function write(
  stage: Stage,
  process: SimulatedProcess,
  act: ActOf<'write'>,
): Promise<void> {
  const { oracle } = stage.world
  let versions: readonly Version[] = []
  const run = async (handle: MemoryTx): Promise<Item[]> => {
    const open = openTransactionOf(handle)
    versions = open.versions
    if (act.how === 'roll back to a savepoint') await savepoint(stage, handle, open, act)
    const rows: Item[] = []
    for (const id of act.ids) {
      const { number } = await open.write(id, false)
      rows.push(handle.put('item', id, { id, number }))
    }
    await stage.world.pause(act.openMs)
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
    stage.note(`write ${act.number} returned, fenced ${fenced}`)
    for (const version of versions) {
      stage.tickets.push({ version, ticket })
      if (version.state !== 'committed' && version.state !== 'lost') {
        oracle.violate('I2', `version ${version.number} was acknowledged, and is not there`)
      }
      if (fenced) version.ackedAt = oracle.step()
      if (act.everywhere && version.state === 'committed') judgeEverywhere(stage, version)
    }
  } catch (error) {
    stage.note(`write ${act.number} failed: ${String(error)}`)
    if (!(error instanceof Error)) throw error
    const isKnown = error instanceof LockstepError && error.code === 'WRITE_ABORTED'
    if (isKnown && versions.some(({ state }) => state === 'committed')) {
      oracle.violate('I2', `write ${act.number} was said to be rolled back, and is there`)
    }
  }
}

/** `everywhere`: no L1 of a process that lives has an older value that it would serve. */
function judgeEverywhere(stage: Stage, { id, number }: Version): void {
  for (const { item, line, name, running } of stage.processes) {
    if (line.isDead) continue
    const slot = item.region.find(item.entity.keyOf(id))
    if (slot === undefined) continue
    const found = (item.region.valueAt(slot) as Item | undefined)?.number
    if ((found ?? -1) >= number || !running.health.isTrusted) continue
    const text = `${name} has ${found} of ${id} after version ${number} was everywhere`
    stage.world.oracle.violate('I2', text)
  }
}

/** What is written and taken back inside a transaction is nobody's business. */
async function savepoint(
  stage: Stage,
  handle: MemoryTx,
  open: OpenTransaction,
  { ids }: ActOf<'write'>,
): Promise<void> {
  const id = ids[0] as number
  const { locks, oracle } = stage.world
  await locks.take(id, open)
  open.check()
  const taken = oracle.begin(id, false)
  const before = stage.world.truth(id)
  handle.put('item', id, { id, number: taken.number })
  oracle.aborted(taken)
  await stage.world.pause(1)
  open.check()
  handle.put('item', id, { id, number: before as number })
}

/** SQL of somebody who doesn't know the cache: triggers tell of it. */
export async function writeElsewhere(stage: Stage, act: ActOf<'foreign write'>): Promise<void> {
  const { database } = stage.world
  const open = new OpenTransaction(stage.world)
  const xid = database.takeXid()
  const ended = new Promise<void>((resolve) => {
    open.atEnd = resolve
  })
  const work = async (): Promise<void> => {
    const { number } = await open.write(act.id, true)
    database.put(xid, 'item', act.id, { id: act.id, number } satisfies Item)
    database.record(xid, [{ entity: 'item', ids: [String(act.id)] }], true)
    await stage.world.pause(act.openMs)
    if (open.isEnded) return
    database.finish(xid, act.isRolledBack ? 'aborted' : 'committed')
    open.end(!act.isRolledBack)
  }
  // It ends with a crash of the database, too.
  await Promise.race([work().catch(() => {}), ended])
}

/** Written by SQL that tells nobody; then told of by a call. */
export async function invalidate(
  stage: Stage,
  process: SimulatedProcess,
  id: number,
): Promise<void> {
  const { database, oracle } = stage.world
  const open = new OpenTransaction(stage.world)
  const xid = database.takeXid()
  const ended = new Promise<void>((resolve) => {
    open.atEnd = resolve
  })
  const work = async (): Promise<void> => {
    const version = await open.write(id, true)
    database.put(xid, 'item', id, { id, number: version.number } satisfies Item)
    database.finish(xid, 'committed')
    // It becomes known, and due, with the call.
    version.isTold = false
    open.end(true)
  }
  await Promise.race([work().catch(() => {}), ended])
  const [written] = open.versions
  if (written?.state !== 'committed') return
  const keys = [{ entity: process.item.entity, id: String(id) }]
  try {
    const { fenced } = await process.running.write(
      () => undefined,
      () => keys,
      { timeoutMs: writeTimeoutMs, retries: 0, onFenceFailure: 'proceed' },
    )
    if (fenced) written.ackedAt = oracle.step()
    oracle.told(written)
  } catch {
    // Nobody is told, as nobody had been before.
  }
}

/** A transaction that does nothing, for long. */
export function idle({ world }: Stage, openMs: number): void {
  const { clock, database } = world
  const xid = database.takeXid()
  const { incarnation } = database
  clock.after(openMs, () => {
    if (database.incarnation === incarnation) database.finish(xid, 'aborted')
  })
}
