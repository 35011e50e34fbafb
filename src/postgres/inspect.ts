/**
 * What `lockstep doctor` asks PostgreSQL: each question in a transaction of its own that may not write,
 * so that one which fails, as for want of a right or of the schema, costs the others nothing.
 */
import type { Client } from 'pg'
import type { Clock } from '../model/clock.ts'
import {
  type Answer,
  type Answers,
  answerTo,
  compareClocks,
  type Inspection,
  type PostgresFacts,
} from '../model/doctor.ts'
import { messageOf } from '../model/errors.ts'
import { type Failure, networkFailure } from '../model/failure.ts'
import { deadlineIn } from '../resilience/deadline.ts'
import { closeOnAbort } from './abort.ts'
import {
  askFlags,
  askNamespace,
  askPrepared,
  askServer,
  askTransactions,
} from './inspect-questions.ts'
import { newestKnown, newestOf } from './migrations.ts'
import { databaseOf } from './namespace.ts'
import { missingRights } from './needed-rights.ts'
import { openPool, type Pool } from './pool.ts'
import { sqlState } from './retryable.ts'
import { listTriggers } from './triggers.ts'

const deadlineMs = 5_000
/** Of a transaction. */
const oldSeconds = 60
const begin = `
  begin isolation level read committed read only;
  set local statement_timeout = 2000;
  set local lock_timeout = 500`

/** Never rejects, and ends by itself. */
export async function inspectPostgres(
  url: string,
  namespace: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<Inspection<PostgresFacts>> {
  const at = placeOf(url)
  const deadline = deadlineIn(deadlineMs, clock)
  const inTime = AbortSignal.any([signal, deadline.signal])
  const opened = openPool(url)
  // Whoever opens one, it ends with the deadline: no server that hangs may keep this process.
  const pool: Pool = {
    ...opened,
    connect: async () => {
      const connection = await opened.connect()
      closeOnAbort(connection, inTime)
      return connection
    },
  }
  try {
    const connection = await pool.connect()
    try {
      const facts = await factsOf({ pool, connection, namespace, clock, signal })
      const { server } = facts
      const version = server.isKnown ? ` ${server.value.version}` : ''
      return { kind: 'reached', found: `PostgreSQL${version} at ${at}`, facts }
    } finally {
      connection.end().catch(() => {})
    }
  } catch (error) {
    return { kind: 'unreachable', at, failure: failureOf(error) }
  } finally {
    deadline.end()
    await pool.close().catch(() => {})
  }
}

/** A socket of this machine is named by an option of the URL. */
function placeOf(url: string): string {
  const { host, port, searchParams } = new URL(url)
  if (host === '') return searchParams.get('host') ?? 'localhost:5432'
  return port === '' ? `${host}:5432` : host
}

interface Asked {
  readonly pool: Pool
  readonly connection: Client
  readonly namespace: string
  readonly clock: Clock
  readonly signal: AbortSignal
}

async function factsOf({
  pool,
  connection,
  namespace,
  clock,
  signal,
}: Asked): Promise<Answers<PostgresFacts>> {
  const ask = <T>(question: (connection: Client) => Promise<T>): Promise<Answer<T>> =>
    answerTo(() => inReadOnly(connection, question))
  // On one connection, one after the other.
  return {
    pooler: await answerTo(() => askPooler(connection)),
    clock: await answerTo(() => compareClocks(clock, () => askClock(connection))),
    server: await ask(askServer),
    schema: await ask(async () => ({
      present: await newestOf(connection),
      newest: newestKnown(),
    })),
    rights: await ask(missingRights),
    transactions: await ask((one) => askTransactions(one, oldSeconds)),
    prepared: await ask((one) => askPrepared(one, oldSeconds)),
    database: await ask(databaseOf),
    flags: await ask((one) => askFlags(one, namespace)),
    namespace: await answerTo(() =>
      askNamespace((question) => inReadOnly(connection, question), namespace, clock, signal),
    ),
    triggers: await answerTo(() => listTriggers(pool)),
  }
}

async function inReadOnly<T>(
  connection: Client,
  question: (connection: Client) => Promise<T>,
): Promise<T> {
  await connection.query(begin)
  try {
    return await question(connection)
  } finally {
    await connection.query('rollback')
  }
}

/** Whoever stands in between gives out process ids of its own. */
async function askPooler(connection: Client): Promise<PostgresFacts['pooler']> {
  const { rows } = await connection.query<{ pid: number }>('select pg_backend_pid() as pid')
  const { processID } = connection as unknown as { readonly processID: number | null }
  const isThere = processID !== rows[0]?.pid
  try {
    await inReadOnly(connection, async () => {})
    return { isThere, refusal: undefined }
  } catch (error) {
    return { isThere, refusal: messageOf(error) }
  }
}

async function askClock(connection: Client): Promise<number> {
  const { rows } = await connection.query<{ ms: number }>(
    'select (extract(epoch from clock_timestamp()) * 1000)::float8 as ms',
  )
  return rows[0]?.ms ?? 0
}

/** By SQLSTATE, or the beginning of it (PostgreSQL manual, appendix A). */
const kinds: readonly (readonly [string, Failure['kind']])[] = [
  ['28P01', 'password'],
  ['28', 'rights'],
  ['3D', 'database'],
  ['42501', 'rights'],
  ['53300', 'full'],
  ['57P03', 'starting'],
  ['57P', 'cut'],
]

/** What pg says without a code. */
const sayings: readonly (readonly [RegExp, Failure['kind']])[] = [
  [/does not support SSL|There was an error establishing an SSL/i, 'tls'],
  [/timeout|timed out/i, 'silent'],
  [/password must be a string|SASL|SCRAM/i, 'password'],
  [/terminated|ended unexpectedly/i, 'cut'],
]

function failureOf(error: unknown): Failure {
  const { cause = error } = error as { readonly cause?: unknown }
  const state = sqlState(cause)
  const detail = messageOf(cause)
  const found = state && kinds.find(([beginning]) => state.startsWith(beginning))?.[1]
  if (found) return { kind: found, detail }
  const said = sayings.find(([saying]) => saying.test(detail))?.[1]
  return networkFailure(cause) ?? { kind: said ?? 'other', detail }
}
