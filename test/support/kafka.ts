/**
 * Kafka for tests: the broker that all tests share, with topics of a test's own in it, and brokers
 * of a test's own, for tests that stop, kill or configure one.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { ownNamespace } from './namespace.ts'
import { type AtEnd, freePort, ownFolder, ServerProcess } from './servers.ts'

// The scripts run on a bare clone, so they are plain JavaScript: what is used of them is typed here.
interface Program {
  readonly java: string
}

interface PreparedBroker {
  readonly command: string
  readonly args: readonly string[]
}

interface Scripts {
  checkoutAt(folder: string): { readonly state: string }
  kafkaForTests(checkout: { readonly state: string }, say?: () => void): Promise<Program>
  prepareBroker(options: {
    kafka: Program
    folder: string
    port: number
    config?: Readonly<Record<string, string>>
    protocol?: string
    advertised?: string
  }): Promise<PreparedBroker>
  isReady(broker: PreparedBroker, clients: string): Promise<boolean>
  createTopic: CreateTopic
  deleteTopic(address: string, name: string): Promise<void>
}

type CreateTopic = (
  address: string,
  name: string,
  partitions: number,
  config?: Readonly<Record<string, string>>,
) => Promise<void>

const root = fileURLToPath(new URL('../..', import.meta.url))
const modules = ['checkout', 'kafka', 'kafka/broker', 'kafka/wire']
const scripts: Scripts = Object.assign(
  {},
  ...(await Promise.all(modules.map((name) => import(join(root, `scripts/setup/${name}.mjs`))))),
)

// ---------------------------------------------------------------- the shared broker

/** Its brokers as KafkaJS wants them; throws what setup said when there is none. */
export function sharedKafka(): readonly string[] {
  const brokers = process.env.KAFKA_BROKERS
  if (brokers) return brokers.split(',')
  throw new Error(`this test needs Kafka. ${whyThereIsNone(join(root, '.lockstep'))}`)
}

export function whyThereIsNone(state: string): string {
  const file = join(state, 'services.json')
  const { kafka } = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { kafka: undefined }
  return (
    kafka?.missing ?? 'Run the tests with `npm test`, or this one with scripts/with-services.mjs'
  )
}

/**
 * A name for a topic that only the running test uses; whoever creates the topic, it is gone from the
 * shared broker when the test has ended.
 */
export function ownTopic(suffix = 'topic'): string {
  const topic = `${ownNamespace()}.${suffix}`
  removeTopicAtEnd(topic)
  return topic
}

/** For a topic whose name somebody else has made of the running test's namespace. */
export function removeTopicAtEnd(topic: string): void {
  const [address] = sharedKafka()
  onTestFinished(() => scripts.deleteTopic(address as string, topic))
}

/** Rejects when it is there already. `config` is the topic's: `{ 'retention.ms': '1000' }`. */
export const createTopic: CreateTopic = scripts.createTopic

// ---------------------------------------------------------------- brokers of a test's own

export interface KafkaServer {
  /** As KafkaJS wants them. */
  readonly brokers: readonly string[]
  readonly port: number
  /** The certificate to trust, when it speaks TLS: it is made out to `localhost` and 127.0.0.1. */
  readonly ca?: string
  /** Ends it as an administrator would. */
  stop(): Promise<void>
  /** Ends it as the machine's end would. */
  kill(): Promise<void>
  /** Starts it again on its port, with its data. */
  start(): Promise<void>
  /** `stop`, unless it has ended already, and `start`. */
  restart(): Promise<void>
  /** Ends it for good: also done at the end of the test. */
  close(): Promise<void>
}

export interface KafkaServerOptions {
  /** Of the topics that it makes by itself. */
  readonly partitions?: number
  /** Clients must give one of these: SASL/PLAIN. */
  readonly users?: Readonly<Record<string, string>>
  readonly tls?: boolean
  /** `host:port` that it tells its clients to go to, instead of its own. */
  readonly advertised?: string
  /** As in server.properties: `{ 'auto.create.topics.enable': 'false' }`. */
  readonly config?: Readonly<Record<string, string>>
  /** Takes what ends it; by default that is the end of the test. */
  readonly atEnd?: AtEnd
}

export async function startKafka(options: KafkaServerOptions = {}): Promise<KafkaServer> {
  const { partitions, users, tls, advertised, config, atEnd = onTestFinished } = options
  const kafka = await scripts.kafkaForTests(scripts.checkoutAt(root))
  const folder = ownFolder('lockstep-kafka-', atEnd)
  const port = await freePort()
  const certificate = tls ? makeCertificate(folder) : undefined
  const prepared = await scripts.prepareBroker({
    kafka,
    folder,
    port,
    protocol: `${users ? 'SASL_' : ''}${tls ? 'SSL' : 'PLAINTEXT'}`,
    ...(advertised ? { advertised } : {}),
    config: {
      // One that was killed may come back only when its last session has ended: 9 s by default.
      'broker.session.timeout.ms': '3000',
      'broker.heartbeat.interval.ms': '500',
      ...(partitions ? { 'num.partitions': String(partitions) } : {}),
      ...(users ? plainUsers(users) : {}),
      ...certificate?.config,
      ...config,
    },
  })
  const { command, args } = prepared
  const address = `127.0.0.1:${port}`
  const ready = () => scripts.isReady(prepared, address).catch(() => false)
  const server = new ServerProcess({ command, args, cwd: folder, ready, atEnd })
  await server.start()
  return {
    brokers: [address],
    port,
    ...(certificate ? { ca: certificate.ca } : {}),
    stop: () => server.end('SIGTERM'),
    kill: () => server.end('SIGKILL'),
    start: () => server.start(),
    restart: async () => {
      await server.end('SIGTERM')
      await server.start()
    },
    close: () => server.end('SIGKILL'),
  }
}

function plainUsers(users: Readonly<Record<string, string>>): Record<string, string> {
  const quoted = (text: string) => `"${text.replace(/["\\]/g, '\\$&')}"`
  const entries = Object.entries(users).map(([name, word]) => `user_${name}=${quoted(word)}`)
  const login = `org.apache.kafka.common.security.plain.PlainLoginModule required ${entries.join(' ')};`
  const listener = 'listener.name.clients'
  return {
    [`${listener}.sasl.enabled.mechanisms`]: 'PLAIN',
    [`${listener}.plain.sasl.jaas.config`]: login,
  }
}

function makeCertificate(folder: string): { ca: string; config: Record<string, string> } {
  const [keyFile, caFile] = [join(folder, 'kafka.key'), join(folder, 'kafka.crt')]
  const names = 'subjectAltName=DNS:localhost,IP:127.0.0.1'
  const key = ['-newkey', 'rsa:2048', '-nodes', '-keyout', keyFile]
  const about = ['-subj', '/CN=localhost', '-addext', names, '-days', '2', '-out', caFile]
  execFileSync('openssl', ['req', '-x509', ...key, ...about], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const ca = readFileSync(caFile, 'utf8')
  const both = join(folder, 'kafka.pem')
  writeFileSync(both, readFileSync(keyFile, 'utf8') + ca, { mode: 0o600 })
  const listener = 'listener.name.clients.ssl.keystore'
  return { ca, config: { [`${listener}.type`]: 'PEM', [`${listener}.location`]: both } }
}
