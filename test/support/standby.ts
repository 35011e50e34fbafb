/** What tests do to a hot standby, and replicas that break a rule on purpose. */
import type { Client } from 'pg'
import { onTestFinished } from 'vitest'
import type { Replicas } from '../../src/model/source-port.ts'
import { openPool } from '../../src/postgres/pool.ts'
import { connect } from './database.ts'
import { until } from './world.ts'

export interface Standby {
  readonly url: string
  readonly client: Client
  /** From here on it shows nothing new. */
  pause(): Promise<void>
  resume(): Promise<void>
  /** It shows everything that has been committed on the primary by now. */
  catchUp(): Promise<void>
  /** A setting, until the test has ended. */
  set(name: string, value: string): Promise<void>
  /** It is a server of its own from here on. */
  promote(): Promise<void>
}

export async function standbyOf(primaryUrl: string, url: string): Promise<Standby> {
  const [primary, client] = [await connect(primaryUrl), await connect(url)]
  const ask = async (on: Client, sql: string, values: unknown[] = []): Promise<unknown> => {
    for (;;) {
      try {
        const { rows } = await on.query({ text: sql, values, rowMode: 'array' })
        return (rows as unknown[][])[0]?.[0]
      } catch (error) {
        // Replay may cancel what is asked of a standby.
        if ((error as { code?: string }).code !== '40001') throw error
      }
    }
  }
  const resume = async (): Promise<void> => {
    await ask(client, 'select pg_wal_replay_resume()')
  }
  const isStandby = (): Promise<unknown> => ask(client, 'select pg_is_in_recovery()')
  // Others use the server after this test.
  onTestFinished(async () => {
    if (await isStandby().catch(() => false)) await resume()
  })
  return {
    url,
    client,
    resume,
    pause: async () => {
      await ask(client, 'select pg_wal_replay_pause()')
      const state = 'select pg_get_wal_replay_pause_state()'
      await until('replay is paused', async () => (await ask(client, state)) === 'paused')
    },
    catchUp: async () => {
      const position = await ask(primary, 'select pg_current_wal_flush_lsn()::text')
      const isThere = 'select pg_last_wal_replay_lsn() >= $1::pg_lsn'
      await until('it has caught up', async () => Boolean(await ask(client, isThere, [position])))
    },
    set: async (name, value) => {
      const reload = 'select pg_reload_conf()'
      onTestFinished(async () => {
        await ask(client, `alter system reset ${name}`)
        await ask(client, reload)
      })
      await ask(client, `alter system set ${name} = '${value}'`)
      await ask(client, reload)
      const shown = `select current_setting('${name}')`
      await until('it is set', async () => (await ask(client, shown)) === value)
    },
    promote: async () => {
      await ask(client, 'select pg_promote(wait => true, wait_seconds => 20)')
      await until('it is a primary', async () => !(await isStandby()))
    },
  }
}

/**
 * `anything`: whatever the replica has will do. `below xmax`: what its snapshot doesn't list as in
 * progress counts as seen, as on a primary.
 */
export function brokenReplicas(url: string, rule: 'anything' | 'below xmax'): Replicas {
  const pool = openPool(url)
  onTestFinished(() => pool.close())
  return {
    isReady: true,
    load: async (entity, ids, least, signal) => {
      const { rows } = await pool.knex.raw<{ rows: { xmax: string }[] }>(
        'select pg_snapshot_xmax(pg_current_snapshot())::text as xmax',
      )
      if (rule === 'below xmax' && Number(rows[0]?.xmax) < least.xmax) return undefined
      return entity.load([...ids], { db: pool.knex, signal })
    },
  }
}
