// A connection that knows nothing of the library, opened anew when it has broken.
import pg from 'pg'

const settings = {
  application_name: 'plain SQL',
  connectionTimeoutMillis: 1_000,
  query_timeout: 1_500,
  statement_timeout: 1_000,
  idle_in_transaction_session_timeout: 2_000,
}

export class PlainSql {
  #url
  #client

  constructor(url) {
    this.#url = url
  }

  /** `failed`: certainly not committed; `unknown`: the COMMIT had been sent. */
  async transaction(run) {
    let isCommitting = false
    try {
      const client = await this.#connected()
      await client.query('begin')
      const value = await run(client)
      isCommitting = true
      const { command } = await client.query('commit')
      return command === 'ROLLBACK' ? { outcome: 'failed' } : { outcome: 'unfenced', value }
    } catch {
      this.close()
      return { outcome: isCommitting ? 'unknown' : 'failed' }
    }
  }

  close() {
    const client = this.#client
    this.#client = undefined
    // `end` would wait for an answer that may never come.
    client?.connection.stream.destroy()
  }

  async #connected() {
    if (this.#client) return this.#client
    const client = new pg.Client({ connectionString: this.#url, ...settings })
    client.on('error', () => {})
    client.once('end', () => {
      if (this.#client === client) this.#client = undefined
    })
    await client.connect()
    this.#client = client
    return client
  }
}
