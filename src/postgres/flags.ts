/** Flags, as PostgreSQL keeps them: what is set, its history, and what the instances apply. */
import type { Client } from 'pg'
import { LockstepError, messageOf } from '../model/errors.ts'
import type { FlagStore } from '../model/flag-ports.ts'
import {
  type FlagChange,
  type FlagReport,
  type FlagState,
  isFlagName,
  type KeptFlag,
  type PastFlagChange,
} from '../model/flags.ts'
import { hold } from './abort.ts'
import { type Pool, type RawClient, unavailable } from './pool.ts'
import { sqlState } from './retryable.ts'
import { transact } from './transact.ts'

const milliseconds = (time: string): string => `(extract(epoch from ${time}) * 1000)::float8`

const readStatement = `
  select coalesce(max(c.change_id), 0)::float8 as revision,
    (select json_agg(json_build_array(f.flag, f.entity, f.instance, f.change_id, f.reason, f.author,
        f.set_by, ${milliseconds('f.set_at')}, ${milliseconds('f.until')},
        ${milliseconds('f.until - clock_timestamp()')}) order by f.change_id)
      from lockstep.flags f where f.namespace = $1 and f.until > clock_timestamp()) as flags
  from (
    select change_id from lockstep.flag_changes where namespace = $1 order by change_id desc limit 1
  ) as c`

const setStatement = `
  select lockstep.set_flag($1, $2, $3::float8 * interval '1 ms', $4, $5, $6, $7, $8)`
const unsetStatement = 'select lockstep.unset_flag($1, $2, $3, $4, $5, $6, $7)'

const historyStatement = `
  select change_id::float8 as "changeId", flag, entity, instance, reason, author, set_by as by,
    ${milliseconds('changed_at')} as "atMs", ${milliseconds('until')} as "untilMs"
  from lockstep.flag_changes where namespace = $1 order by change_id desc limit $2`

const reportStatement = `
  update lockstep.instances set flags = $3
  where namespace = $1 and instance = $2 and flags is distinct from $3::text[]`

/** Who runs says so every 10 s. */
const reportsStatement = `
  select instance, flags as applied from lockstep.instances
  where namespace = $1 and seen_at > clock_timestamp() - interval '30 s'
  order by instance`

/** Who set a flag believes that it is kept: the COMMIT waits for the disk. */
const beginStatements = 'begin isolation level read committed; set local synchronous_commit = on'

const scopesStatement = `
  select
    array(select distinct entity from lockstep.schema_versions where namespace = $1) as entities,
    array(select instance from lockstep.instances where namespace = $1) as instances`

type Row = [string, string, string, number, string, string, string, number, number, number]

export class PostgresFlags implements FlagStore {
  readonly #pool: Pool
  readonly #namespace: string

  constructor(pool: Pool, namespace: string) {
    this.#pool = pool
    this.#namespace = namespace
  }

  read(signal: AbortSignal): Promise<FlagState> {
    return this.#on(signal, (connection) => this.#read(connection))
  }

  change(changes: readonly FlagChange[], signal: AbortSignal): Promise<FlagState> {
    return this.#on(signal, (connection) =>
      transact(connection, beginStatements, async () => {
        for (const change of changes) await this.#change(connection, change)
        return this.#read(connection)
      }),
    )
  }

  history(limit: number, signal: AbortSignal): Promise<readonly PastFlagChange[]> {
    return this.#on(signal, async (connection) => {
      const { rows } = await connection.query<
        Omit<PastFlagChange, 'kind' | 'untilMs'> & { readonly untilMs: number | null }
      >(historyStatement, [this.#namespace, limit])
      return rows
        .filter(({ flag }) => isFlagName(flag))
        .map(({ entity, instance, untilMs, ...others }) => ({
          ...others,
          ...scopeOf(entity, instance),
          kind: untilMs === null ? ('unset' as const) : ('set' as const),
          untilMs: untilMs ?? undefined,
        }))
    })
  }

  async report({ instance, applied }: FlagReport, signal: AbortSignal): Promise<void> {
    await this.#on(signal, (connection) =>
      connection.query(reportStatement, [this.#namespace, instance, applied]),
    )
  }

  reports(signal: AbortSignal): Promise<readonly FlagReport[]> {
    return this.#on(signal, async (connection) => {
      const { rows } = await connection.query<FlagReport>(reportsStatement, [this.#namespace])
      return rows
    })
  }

  /** All that a flag can be for, as far as is known. */
  scopes(
    signal: AbortSignal,
  ): Promise<{ readonly entities: readonly string[]; readonly instances: readonly string[] }> {
    return this.#on(signal, async (connection) => {
      const { rows } = await connection.query<{ entities: string[]; instances: string[] }>(
        scopesStatement,
        [this.#namespace],
      )
      const { entities = [], instances = [] } = rows[0] ?? {}
      return { entities, instances }
    })
  }

  async #read(connection: Client): Promise<FlagState> {
    const { rows } = await connection.query<{ revision: number; flags: Row[] | null }>(
      readStatement,
      [this.#namespace],
    )
    const { revision = 0, flags = [] } = rows[0] ?? {}
    return { revision, flags: (flags ?? []).flatMap((row) => keptFlag(row) ?? []) }
  }

  async #change(connection: Client, change: FlagChange): Promise<void> {
    const { flag, forMs, kind, reason, author, entity = '', instance = '', by } = change
    const words = [reason, author, entity, instance, by]
    if (kind === 'unset') {
      await connection.query(unsetStatement, [this.#namespace, flag, ...words])
    } else await connection.query(setStatement, [this.#namespace, flag, forMs, ...words])
  }

  async #on<T>(signal: AbortSignal, run: (connection: Client) => Promise<T>): Promise<T> {
    try {
      const { connection, release } = await hold(this.#pool.knex.client as RawClient, signal)
      try {
        return await run(connection)
      } finally {
        await release()
      }
    } catch (error) {
      const state = sqlState(error) ?? ''
      // What the functions themselves say no to.
      if (state === '22023') throw new LockstepError('OPTION_INVALID', messageOf(error))
      // A right or a function is missing, which won't go away by itself.
      if (state.startsWith('42')) {
        const cause = { cause: error }
        throw new LockstepError('SOURCE_UNSUPPORTED', `PostgreSQL: ${messageOf(error)}`, cause)
      }
      throw unavailable(error)
    }
  }
}

/** `undefined`: of a lockstep to come. */
function keptFlag(row: Row): KeptFlag | undefined {
  const [flag, entity, instance, changeId, reason, author, by, setAtMs, untilMs, leftMs] = row
  if (!isFlagName(flag)) return undefined
  const words = { reason, author, by: by as KeptFlag['by'] }
  return { changeId, flag, ...scopeOf(entity, instance), ...words, setAtMs, untilMs, leftMs }
}

function scopeOf(entity: string | undefined, instance: string | undefined) {
  return { ...(entity ? { entity } : {}), ...(instance ? { instance } : {}) }
}
