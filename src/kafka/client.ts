/**
 * KafkaJS with everything of its own that outlives a call taken away: its sockets end with
 * `destroy`, its log goes to ours. Each part of the room has a client of its own, so that one that
 * hangs is thrown away without the others.
 */
import { connect as connectPlain, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { type Admin, Kafka, type KafkaConfig, type LogEntry, logLevel } from 'kafkajs'
import type { Logger } from '../model/log.ts'
import type { KafkaSettings } from './options.ts'

export interface Client {
  readonly kafka: Kafka
  /** Ends every connection at once, and lets no new one be opened; whatever waits for them fails. */
  destroy(): void
}

export interface ClientOptions {
  readonly log: Logger
  /** How long KafkaJS waits for an answer. */
  readonly requestTimeoutMs: number
  /** A connection that was in use has broken. */
  readonly onCut?: (error: unknown) => void
}

const connectionTimeoutMs = 1_000
/**
 * The first broker that a client asks says at once what it speaks; whatever may take longer comes
 * after that. One that doesn't hangs: who waited for it any longer would still do so when it is back.
 * Where a connection may take longer (`connectionTimeout`) an answer may too.
 */
const firstAnswerMs = 1_000
const authenticationTimeoutMs = 5_000
/** A broker ends connections that nobody uses; after this long it is that, and no fault. */
const idleMs = 60_000

type SocketFactory = NonNullable<KafkaConfig['socketFactory']>

const openSocket: SocketFactory = ({ host, port, ssl, onConnect }) => {
  if (!ssl) return connectPlain({ host, port, noDelay: true }, onConnect)
  const name = isIP(host) ? {} : { servername: host }
  return connectTls({ host, port, ...name, ...ssl }, onConnect)
}

export function openClient(settings: KafkaSettings, options: ClientOptions): Client {
  const { log, requestTimeoutMs, onCut } = options
  const { socketFactory: open = openSocket, sasl, ...own } = settings.client
  const silentForMs = Math.max(firstAnswerMs, own.connectionTimeout ?? 0)
  const sockets = new Set<Socket>()
  let isDestroyed = false
  let hasAnswered = false
  const factory: SocketFactory = (place) => {
    if (isDestroyed) throw new Error('closed')
    const { onConnect } = place
    let silence: NodeJS.Timeout | undefined
    const socket = open({
      ...place,
      onConnect: () => {
        const late = new Error(`the broker has not answered in ${silentForMs} ms`)
        const hangs = Object.assign(late, { code: 'ETIMEDOUT' })
        if (!hasAnswered) silence = setTimeout(() => socket.destroy(hangs), silentForMs)
        onConnect()
      },
    })
    sockets.add(socket)
    let usedAtMs = performance.now()
    socket.setKeepAlive(true, 10_000)
    socket.on('data', () => {
      clearTimeout(silence)
      hasAnswered = true
      usedAtMs = performance.now()
    })
    let failure: unknown
    socket.on('error', (error) => {
      failure = error
    })
    socket.once('close', () => {
      clearTimeout(silence)
      sockets.delete(socket)
      if (!isDestroyed && performance.now() - usedAtMs < idleMs) {
        onCut?.(failure ?? new Error('the broker has closed the connection'))
      }
    })
    return socket
  }
  const kafka = new Kafka({
    clientId: 'lockstep',
    connectionTimeout: connectionTimeoutMs,
    authenticationTimeout: authenticationTimeoutMs,
    ...own,
    // KafkaJS writes into it what holds the first password that it saw.
    ...(sasl ? { sasl: { ...sasl } } : {}),
    requestTimeout: requestTimeoutMs,
    // Who calls knows when to try again, and with what.
    retry: { retries: 1, initialRetryTime: 50, maxRetryTime: 200, restartOnFailure: never },
    socketFactory: factory,
    logLevel: logLevel.WARN,
    logCreator: () => (entry) => passOn(entry, log),
  })
  return {
    kafka,
    destroy: () => {
      isDestroyed = true
      // With an error: KafkaJS doesn't look for a mere close, and would wait for its answers.
      for (const socket of sockets) socket.destroy(new Error('closed'))
    },
  }
}

/** An admin, with a client of its own, for one act; both are gone when it is done or `signal` aborts. */
export async function withAdmin<T>(
  settings: KafkaSettings,
  options: Omit<ClientOptions, 'onCut'>,
  signal: AbortSignal,
  act: (admin: Admin) => Promise<T>,
): Promise<T> {
  signal.throwIfAborted()
  const client = openClient(settings, options)
  signal.addEventListener('abort', client.destroy, { once: true })
  try {
    const admin = client.kafka.admin()
    await admin.connect()
    const result = await act(admin)
    await admin.disconnect()
    return result
  } finally {
    signal.removeEventListener('abort', client.destroy)
    client.destroy()
  }
}

const never = async (): Promise<boolean> => false

const shown = [
  'broker',
  'clientId',
  'groupId',
  'topic',
  'partition',
  'error',
  'retryCount',
] as const

/**
 * What KafkaJS has to say, for who debugs: it reports each failed attempt as an error, and which of
 * them matter is said by who made it. Only what surely holds no secret is passed on.
 */
function passOn({ namespace, label, log: entry }: LogEntry, log: Logger): void {
  const details: Record<string, unknown> = { kafkajs: namespace, level: label }
  for (const name of shown) {
    const value: unknown = entry[name]
    if (typeof value === 'string' || typeof value === 'number') details[name] = value
  }
  log.debug(details, `KafkaJS: ${entry.message}`)
}
