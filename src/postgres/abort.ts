import { type Client, Connection } from 'pg'
import type { Clock } from '../model/clock.ts'
import { deadlineIn } from '../resilience/deadline.ts'

/** What pg's own types leave out. */
interface RawConnection {
  readonly connection: { readonly stream: { destroy(): void } }
  readonly host: string
  readonly port: number
  readonly ssl: unknown
  /** What Knex looks at before it gives a connection out again. */
  __knex__disposed?: unknown
  readonly processID: number | null
  readonly secretKey: number | null
}

interface CancelConnection {
  readonly stream: { setTimeout(ms: number, run: () => void): unknown; destroy(): void }
  connect(port: number | string, host?: string): void
  requestSsl(): void
  cancel(processID: number, secretKey: number): void
  on(event: 'connect' | 'sslconnect' | 'error', run: () => void): void
}

const cancelTimeoutMs = 2_000

/**
 * Breaks the connection when the signal aborts: whatever waits for it is rejected at once, and
 * PostgreSQL rolls back what was not committed. A statement that runs would notice only when it ends,
 * and keep its locks until then, so it is cancelled too; all but a COMMIT, which a cancel would keep
 * from waiting for its standby. The returned function ends the watch.
 */
export function closeOnAbort(
  connection: Client,
  signal: AbortSignal,
  then: 'cancel' | 'leave' = 'cancel',
): () => void {
  const close = (): void => {
    const raw = connection as unknown as RawConnection
    if (then === 'cancel') cancel(raw)
    raw.__knex__disposed = signal.reason
    raw.connection.stream.destroy()
  }
  if (signal.aborted) close()
  else signal.addEventListener('abort', close, { once: true })
  return () => signal.removeEventListener('abort', close)
}

/** As `closeOnAbort`, after `ms`. */
export function closeAfter(
  ms: number,
  connection: Client,
  clock: Clock,
  then: 'cancel' | 'leave' = 'cancel',
): () => void {
  const deadline = deadlineIn(ms, clock)
  closeOnAbort(connection, deadline.signal, then)
  return deadline.end
}

/** Why a connection of Knex' pool can't be used any more; `undefined`: it can. */
export function brokenBy(connection: Client): unknown {
  return (connection as unknown as RawConnection).__knex__disposed
}

/** A connection out of the pool, broken when the signal aborts; who takes it releases it. */
interface Held {
  readonly connection: Client
  release(): Promise<void>
}

/** Takes a connection out of Knex' pool. */
export async function hold(
  client: {
    acquireConnection: () => Promise<Client>
    releaseConnection: (connection: Client) => Promise<void>
  },
  signal: AbortSignal,
): Promise<Held> {
  const connection = await client.acquireConnection()
  if (signal.aborted) {
    // Whoever waited for a connection for too long has gone; the connection is as good as before.
    await client.releaseConnection(connection)
    signal.throwIfAborted()
  }
  const endWatch = closeOnAbort(connection, signal)
  return {
    connection,
    release: async () => {
      endWatch()
      await client.releaseConnection(connection)
    },
  }
}

/** A CancelRequest (PostgreSQL manual, 55.2.8) over a socket of its own; whether it arrives is not waited for. */
function cancel({ host, port, ssl, processID, secretKey }: RawConnection): void {
  if (processID === null || secretKey === null) return
  const request = new Connection({ ssl } as never) as unknown as CancelConnection
  const send = (): void => request.cancel(processID, secretKey)
  request.on('error', () => {})
  request.on('connect', () => (ssl ? request.requestSsl() : send()))
  request.on('sslconnect', send)
  if (host.startsWith('/')) request.connect(`${host}/.s.PGSQL.${port}`)
  else request.connect(port, host)
  request.stream.setTimeout(cancelTimeoutMs, () => request.stream.destroy())
}
