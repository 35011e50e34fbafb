import type { Instances } from '../model/outbox-port.ts'
import { formatSnapshot, type Snapshot, type WriteId } from '../model/snapshot.ts'
import { inTransaction } from './in-transaction.ts'
import { notifyStatement } from './outbox-statements.ts'
import type { Pool } from './pool.ts'

/** Far longer than any trust lasts that an instance may have had when it was last seen. */
const forgottenAfterMs = 600_000
/** Beyond the staleness bound nobody waits. */
const awaitedMs = 10_000

const joinStatement = `
  insert into lockstep.instances (namespace, instance) values ($1, $2)
  on conflict (namespace, instance) do update set seen_at = clock_timestamp()`

const forgetStatement = `
  delete from lockstep.instances
  where seen_at < clock_timestamp() - ${forgottenAfterMs} * interval '1 ms'`

const leaveStatement = 'delete from lockstep.instances where namespace = $1 and instance = $2'

const askAllStatement = `
  update lockstep.namespaces set waited_until = clock_timestamp() + ${awaitedMs} * interval '1 ms'
  where name = $1`

const acknowledgeStatement = `
  update lockstep.instances set incarnation = $3, acted_on = $4::pg_snapshot
  where namespace = $1 and instance = $2`

const everywhereStatement = `
  select not exists (
    select from lockstep.instances
    where namespace = $1
      and not coalesce(incarnation = $2 and pg_visible_in_snapshot($3::xid8, acted_on), false)
  ) as is_everywhere`

export class PostgresInstances implements Instances {
  readonly #pool: Pool
  readonly #namespace: string

  constructor(pool: Pool, namespace: string) {
    this.#pool = pool
    this.#namespace = namespace
  }

  async join(instance: string, signal: AbortSignal): Promise<void> {
    await inTransaction(this.#pool, signal, async (connection) => {
      await connection.query(joinStatement, [this.#namespace, instance])
      await connection.query(forgetStatement)
    })
  }

  leave(instance: string, signal: AbortSignal): Promise<void> {
    return this.#run(leaveStatement, [instance], signal)
  }

  async askAll(signal: AbortSignal): Promise<void> {
    await this.#run(askAllStatement, [], signal)
    await this.#run(notifyStatement, [], signal)
  }

  acknowledge(instance: string, snapshot: Snapshot, signal: AbortSignal): Promise<void> {
    const values = [instance, snapshot.incarnation, formatSnapshot(snapshot)]
    return this.#run(acknowledgeStatement, values, signal)
  }

  async isEverywhere({ incarnation, xid }: WriteId, signal: AbortSignal): Promise<boolean> {
    const values = [this.#namespace, incarnation, String(xid)]
    const { rows } = await inTransaction(this.#pool, signal, (connection) =>
      connection.query<{ is_everywhere: boolean }>(everywhereStatement, values),
    )
    return rows[0]?.is_everywhere === true
  }

  async #run(statement: string, values: readonly string[], signal: AbortSignal): Promise<void> {
    await inTransaction(this.#pool, signal, (connection) =>
      connection.query(statement, [this.#namespace, ...values]),
    )
  }
}
