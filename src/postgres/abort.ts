import type { Client } from 'pg'

/**
 * Breaks the connection when the signal aborts: whatever waits for it is rejected at once, and
 * PostgreSQL rolls back what was not committed. A query that hangs can't be taken back otherwise,
 * and a connection that hangs doesn't answer a cancel. The returned function ends the watch.
 */
export function closeOnAbort(connection: Client, signal: AbortSignal): () => void {
  const close = (): void => {
    const { stream } = (connection as unknown as { connection: { stream: { destroy(): void } } })
      .connection
    stream.destroy()
  }
  if (signal.aborted) close()
  else signal.addEventListener('abort', close, { once: true })
  return () => signal.removeEventListener('abort', close)
}
