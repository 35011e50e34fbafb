/** Transactions of the simulated database: slow, cut off, lost, and known to the oracle. */
import type { Source, Transaction } from '../../src/model/source-port.ts'
import type { MemoryTx } from '../../src/testing/memory-source.ts'
import type { Line } from './line.ts'
import type { LockHolder } from './locks.ts'
import type { Version } from './oracle.ts'
import type { SimulatedWorld } from './world.ts'

/** One that somebody has begun, with what it has written. */
export class OpenTransaction implements LockHolder {
  readonly locked = new Set<number>()
  readonly versions: Version[] = []
  readonly world: SimulatedWorld
  isEnded = false
  atEnd: (() => void) | undefined

  constructor(world: SimulatedWorld) {
    this.world = world
    world.openTransactions.add(this)
  }

  /** Throws where its connection is gone. */
  check(): void {
    if (this.isEnded) throw new Error('Connection terminated unexpectedly')
  }

  /** The next version of a row, which it holds from now on. */
  async write(id: number, isForeign: boolean): Promise<Version> {
    await this.world.locks.take(id, this)
    this.check()
    const version = this.world.oracle.begin(id, isForeign)
    this.versions.push(version)
    return version
  }

  end(hasCommitted: boolean): void {
    if (this.isEnded) return
    this.isEnded = true
    const { locks, openTransactions, oracle } = this.world
    openTransactions.delete(this)
    for (const version of this.versions) {
      if (hasCommitted) oracle.committed(version)
      else oracle.aborted(version)
    }
    locks.release(this)
    this.atEnd?.()
  }
}

/** By what a write's callback is given. */
const byHandle = new WeakMap<MemoryTx, OpenTransaction>()

export function openTransactionOf(handle: MemoryTx): OpenTransaction {
  return byHandle.get(handle) as OpenTransaction
}

export function slowSource(
  source: Source<MemoryTx>,
  world: SimulatedWorld,
  line: Line,
): Source<MemoryTx> {
  const check = (): void => {
    if (line.isOff('database')) throw new Error('the database cannot be reached')
  }
  return {
    ...source,
    load: async (...args) => {
      check()
      return source.load(...args)
    },
    begin: async (signal) => {
      await line.go('begin')
      check()
      const transaction = slowTransaction(await source.begin(signal), world, line)
      await line.go('begin')
      return transaction
    },
  }
}

function slowTransaction(
  transaction: Transaction<MemoryTx>,
  world: SimulatedWorld,
  line: Line,
): Transaction<MemoryTx> {
  const open = new OpenTransaction(world)
  byHandle.set(transaction.handle, open)
  const cut = (): void => {
    if (open.isEnded) return
    void transaction.rollback()
    open.end(false)
  }
  const uncut = line.onCut(cut)
  const check = (): void => {
    open.check()
    if (line.isOff('database')) throw new Error('the connection hangs')
  }
  return {
    handle: transaction.handle,
    record: (keys) =>
      line.travel('record', async () => {
        check()
        return transaction.record(keys)
      }),
    commit: async () => {
      await line.go('commit')
      if (open.isEnded) return { kind: 'aborted' }
      const outcome = await transaction.commit()
      // In the same turn as the COMMIT itself, as far as anybody can see.
      open.end(outcome.kind === 'committed')
      uncut()
      const isUnknown = line.chance('outcome').hits(world.scenario.unknownCommits)
      await line.go('commit')
      return isUnknown ? { kind: 'unknown' } : outcome
    },
    rollback: async () => {
      await line.go('rollback')
      cut()
      uncut()
      await transaction.rollback()
    },
  }
}
