/**
 * A TCP proxy before a service, for what networks do: refuse, reset, go half-open, be slow, break in
 * the middle of an answer. It belongs to the test that opened it.
 */
import { createServer, connect as dial, type Server, type Socket } from 'node:net'
import { onTestFinished } from 'vitest'

export interface TcpProxy {
  readonly port: number
  /** The number of connections that are open to the proxy. */
  readonly open: number
  /** `url` by way of the proxy. */
  through(url: string): string
  /** New connections pass; those that were hung stay so. */
  pass(): Promise<void>
  /** Nobody listens, and what was open is closed. */
  refuse(): Promise<void>
  /** Present connections are reset, and new ones as soon as they come. */
  reset(): void
  /** Each present connection is reset by this chance, and until `pass` each new one as soon as it comes. */
  resetSome(share: number): void
  /** Half-open: present and new connections stay open, and whatever is sent is swallowed. */
  hang(): void
  /** Whatever arrives from now on is passed on so much later. */
  delay(ms: number): void
  /** Present connections are closed. */
  cut(): void
  /** From now on it is before another service; open connections are cut. */
  turnTo(url: string): void
  /** Holds the next connection before its first byte is passed on, until it is released. */
  holdNext(): Held
  /** When a client sends such a text, once; resolves with whether it was done before the signal. */
  at(what: Sent, act: Act, signal?: AbortSignal): Promise<boolean>
}

/** A text that lies in one piece of what a client sends, or who can tell. */
export type Sent = string | ((bytes: Buffer) => boolean)

/**
 * `cut before`: the service never gets it. `cut after`: it gets it from a client that has gone.
 * `cut reply`, `hang reply`: it does it, and its answer is lost.
 */
export type Act =
  | 'cut before'
  | 'cut after'
  | 'cut reply'
  | 'hang reply'
  | { readonly cutReplyAfterBytes: number }
  /** Is called before the service gets it, or when its answer is there: neither goes on before it resolves. */
  | { readonly before: () => Promise<Onward> }
  | { readonly after: () => Promise<Onward> }

/** Whether the bytes go on, or the connection ends. */
export type Onward = 'pass' | 'cut'

interface Held {
  readonly accepted: Promise<void>
  release(): void
}

interface Rule {
  readonly what: Sent
  readonly act: Act
  readonly done: () => void
}

class Connection {
  readonly client: Socket
  readonly service: Socket
  isHung = false
  /** Bytes of the service's answer that still pass before the cut. */
  replyBytesLeft: number | undefined
  cutDone: (() => void) | undefined
  /** Is asked before the next bytes of the service go on. */
  answer: (() => Promise<Onward>) | undefined

  constructor(client: Socket, service: Socket) {
    this.client = client
    this.service = service
  }

  destroy(): void {
    this.client.destroy()
    this.service.destroy()
  }

  reset(): void {
    this.client.resetAndDestroy()
    this.service.destroy()
  }
}

class ProxyServer implements TcpProxy {
  #target: { readonly host: string; readonly port: number }
  readonly #connections = new Set<Connection>()
  readonly #server: Server
  #rules: Rule[] = []
  #holds: { accepted: () => void; released: Promise<void> }[] = []
  #mode: 'pass' | 'reset' | 'hang' = 'pass'
  #delayMs = 0
  #resetShare = 0
  port = 0

  constructor(target: { host: string; port: number }) {
    this.#target = target
    this.#server = createServer((client) => this.#accept(client))
  }

  get open(): number {
    return this.#connections.size
  }

  async listen(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.port, '127.0.0.1', resolve))
    this.port = (this.#server.address() as { port: number }).port
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.cut()
    await closed
  }

  through(url: string): string {
    const changed = new URL(url)
    changed.hostname = '127.0.0.1'
    changed.port = String(this.port)
    return changed.href
  }

  async pass(): Promise<void> {
    this.#mode = 'pass'
    this.#delayMs = 0
    this.#resetShare = 0
    if (!this.#server.listening) await this.listen()
  }

  turnTo(url: string): void {
    this.#target = targetOf(url)
    this.cut()
  }

  async refuse(): Promise<void> {
    if (this.#server.listening) await this.close()
  }

  reset(): void {
    this.#mode = 'reset'
    for (const connection of this.#connections) connection.reset()
  }

  resetSome(share: number): void {
    this.#resetShare = share
    for (const connection of this.#connections) {
      if (Math.random() < share) connection.reset()
    }
  }

  hang(): void {
    this.#mode = 'hang'
    for (const connection of this.#connections) connection.isHung = true
  }

  delay(ms: number): void {
    this.#delayMs = ms
  }

  cut(): void {
    for (const connection of this.#connections) connection.destroy()
  }

  holdNext(): Held {
    let release!: () => void
    let accepted!: () => void
    const released = new Promise<void>((resolve) => {
      release = resolve
    })
    const isAccepted = new Promise<void>((resolve) => {
      accepted = resolve
    })
    this.#holds.push({ accepted, released })
    return { accepted: isAccepted, release }
  }

  at(what: Sent, act: Act, signal?: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const rule: Rule = { what, act, done: () => resolve(true) }
      const takeBack = (): void => {
        this.#rules = this.#rules.filter((one) => one !== rule)
        resolve(false)
      }
      this.#rules.push(rule)
      if (signal?.aborted) takeBack()
      else signal?.addEventListener('abort', takeBack, { once: true })
    })
  }

  #accept(client: Socket): void {
    if (this.#mode === 'reset' || Math.random() < this.#resetShare) {
      client.resetAndDestroy()
      return
    }
    const connection = new Connection(client, dial(this.#target))
    connection.isHung = this.#mode === 'hang'
    this.#connections.add(connection)
    for (const socket of [connection.client, connection.service]) {
      socket.setNoDelay(true)
      socket.on('error', () => {})
      socket.once('close', () => {
        // A half-open connection tells nobody that the other side has gone.
        if (connection.isHung && socket === connection.service) return
        this.#connections.delete(connection)
        connection.destroy()
      })
    }
    const hold = this.#holds.shift()
    hold?.accepted()
    const before = hold?.released ?? Promise.resolve()
    this.#carry(connection, before)
  }

  #carry(connection: Connection, before: Promise<void>): void {
    const { client, service } = connection
    // One chain per direction keeps the order, whatever is late.
    let toService = before
    let toClient = before
    client.on('data', (bytes: Buffer) => {
      toService = this.#later(toService, () => this.#fromClient(connection, bytes))
    })
    service.on('data', (bytes: Buffer) => {
      toClient = this.#later(toClient, () => this.#fromService(connection, bytes))
    })
  }

  async #later(before: Promise<void>, act: () => Promise<void> | void): Promise<void> {
    const ms = this.#delayMs
    // Bytes that follow soon are late by as much, not by as much each.
    const isDue = ms > 0 ? new Promise((resolve) => setTimeout(resolve, ms)) : undefined
    await before
    await isDue
    await act()
  }

  async #fromClient(connection: Connection, bytes: Buffer): Promise<void> {
    if (connection.isHung) return
    const rule = this.#rules.find(({ what }) =>
      typeof what === 'string' ? bytes.includes(what) : what(bytes),
    )
    if (rule) {
      this.#rules = this.#rules.filter((one) => one !== rule)
      if (typeof rule.act === 'object' && 'before' in rule.act) {
        const onward = await rule.act.before()
        rule.done()
        return onward === 'pass' ? void connection.service.write(bytes) : connection.destroy()
      }
      if (typeof rule.act === 'object' && 'after' in rule.act) {
        const { after } = rule.act
        connection.answer = () => after().finally(rule.done)
        return void connection.service.write(bytes)
      }
      if (rule.act === 'cut before') {
        connection.destroy()
        rule.done()
        return
      }
      if (rule.act === 'cut after') {
        connection.service.end(bytes, () => connection.destroy())
        rule.done()
        return
      }
      connection.replyBytesLeft = replyBytes(rule.act)
      connection.cutDone = () => {
        if (rule.act === 'hang reply') connection.isHung = true
        else connection.destroy()
        rule.done()
      }
    }
    connection.service.write(bytes)
  }

  async #fromService(connection: Connection, bytes: Buffer): Promise<void> {
    if (connection.isHung) return
    const { answer } = connection
    connection.answer = undefined
    if (answer && (await answer()) === 'cut') return connection.destroy()
    const left = connection.replyBytesLeft
    if (left === undefined || bytes.length <= left) {
      if (left !== undefined) connection.replyBytesLeft = left - bytes.length
      connection.client.write(bytes)
      return
    }
    if (left > 0) connection.client.write(bytes.subarray(0, left))
    connection.replyBytesLeft = undefined
    connection.cutDone?.()
  }
}

function replyBytes(act: Act): number {
  return typeof act === 'object' && 'cutReplyAfterBytes' in act ? act.cutReplyAfterBytes : 0
}

/** A proxy before the service that `url` names. */
export async function openTcpProxy(url: string): Promise<TcpProxy> {
  const proxy = new ProxyServer(targetOf(url))
  await proxy.listen()
  onTestFinished(() => proxy.refuse())
  return proxy
}

function targetOf(url: string): { host: string; port: number } {
  const { hostname, port, protocol } = new URL(url)
  const standard = protocol.startsWith('postgres') ? 5432 : 6379
  return { host: hostname, port: Number(port || standard) }
}
