/** Somebody who knows nothing of any cache: writes the demo's rows by plain SQL, on a connection of its own. */
import { setTimeout } from 'node:timers/promises'
import type { Pool } from '../postgres/pool.ts'
import { isRetryableFailure } from '../postgres/retryable.ts'
import { schema } from './city.ts'
import { HistoryWriter } from './history.ts'
import type { Traffic } from './traffic.ts'

export interface ForeignOptions {
  readonly pool: Pool
  readonly traffic: Traffic
  readonly epochNs: bigint
  /** What it has written, told completely up to `untilNs`. */
  readonly hear: (chunk: Uint8Array, untilNs: number) => void
}

type Connection = Awaited<ReturnType<Pool['connect']>>

const pauseMs = 10
/** Until a database that has gone is asked again. */
const restMs = 250
const empty = new Uint8Array(0)

/** Until the signal; rejects when a write fails that would fail again. */
export async function writeForeign(options: ForeignOptions, signal: AbortSignal): Promise<void> {
  const { pool, traffic, epochNs, hear } = options
  const nowNs = (): number => Number(process.hrtime.bigint() - epochNs)
  const history = new HistoryWriter((chunk) => hear(chunk, nowNs()))
  try {
    while (!signal.aborted) {
      try {
        await write()
      } catch (error) {
        if (!isRetryableFailure(error)) throw error
        await setTimeout(restMs)
      }
    }
  } finally {
    hear(empty, Number.POSITIVE_INFINITY)
  }

  /** On one connection, as long as that holds. */
  async function write(): Promise<void> {
    const connection = await pool.connect()
    try {
      while (!signal.aborted) await writeOne(connection)
    } finally {
      connection.end().catch(() => {})
    }
  }

  async function writeOne(connection: Connection): Promise<void> {
    const startNs = nowNs()
    const { rows } = await connection.query<{ id: number; version: number }>(
      `update ${schema}.cities set version = version + 1 where id = $1 returning id, version`,
      [traffic.next(startNs / 1e6)],
    )
    const endNs = nowNs()
    for (const row of rows) {
      history.add({ kind: 'write', ...row, startNs, endNs, fenced: false })
    }
    history.flush()
    hear(empty, nowNs())
    await setTimeout(pauseMs)
  }
}
