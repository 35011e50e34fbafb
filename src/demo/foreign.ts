/** Somebody who knows nothing of any cache: writes the demo's rows by plain SQL, on a connection of its own. */
import { setTimeout } from 'node:timers/promises'
import type { Pool } from '../postgres/pool.ts'
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

const pauseMs = 10
const empty = new Uint8Array(0)

/** Until the signal; rejects when a write fails. */
export async function writeForeign(options: ForeignOptions, signal: AbortSignal): Promise<void> {
  const { pool, traffic, epochNs, hear } = options
  const nowNs = (): number => Number(process.hrtime.bigint() - epochNs)
  const history = new HistoryWriter((chunk) => hear(chunk, nowNs()))
  const connection = await pool.connect()
  try {
    while (!signal.aborted) {
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
  } finally {
    connection.end().catch(() => {})
    hear(empty, Number.POSITIVE_INFINITY)
  }
}
