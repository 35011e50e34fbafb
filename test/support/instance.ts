/** An instance in a process of its own, which a test stops, continues and kills. */
import { execFileSync, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import type { BloomTable } from '../../src/model/bloom-option.ts'
import type { Timing } from '../../src/model/defaults.ts'
import { callsOf } from './calls.ts'
import { until } from './until.ts'
import type { Item, World } from './world.ts'

interface InstanceEntry {
  readonly value?: Item
  readonly tier: string
  readonly proven: boolean
}

export interface Instance {
  entry(id: number, request?: { consistency: 'strong' }): Promise<InstanceEntry>
  peek(id: number): Promise<Item | null>
  write(id: number): Promise<unknown>
  isRelaying(): Promise<boolean>
  close(): Promise<unknown>
  /** SIGSTOP; resolves when it stands still. */
  stop(): Promise<void>
  /** SIGCONT. */
  goOn(): void
  /** SIGKILL; resolves when it has ended. */
  kill(): Promise<void>
}

export interface InstanceOptions {
  readonly redisUrl?: string
  readonly databaseUrl?: string
  readonly timing?: Timing
  readonly bloom?: BloomTable
}

/** Runs what is built: `node scripts/build.mjs` comes first. */
export async function startInstance(
  world: World,
  options: InstanceOptions = {},
): Promise<Instance> {
  const { redisUrl = world.redisUrl, databaseUrl = world.databaseUrl, timing = {} } = options
  const settings = {
    namespace: world.namespace,
    postgres: databaseUrl,
    redis: redisUrl,
    kafka: world.kafka,
    table: world.table,
    timing,
    bloom: options.bloom,
  }
  const script = fileURLToPath(new URL('./children/instance.mjs', import.meta.url))
  const child = fork(script, [JSON.stringify(settings)])
  onTestFinished(() => void child.kill('SIGKILL'))
  const exited = once(child, 'exit')
  await Promise.race([
    once(child, 'message'),
    exited.then(([code]) => Promise.reject(new Error(`the instance ended with ${code}`))),
  ])
  const { ask } = callsOf(child)
  return {
    entry: (id, request) => ask('entry', { id, request }),
    peek: (id) => ask('peek', { id }),
    write: (id) => ask('write', { id }),
    isRelaying: () => ask('isRelaying'),
    close: () => ask('close'),
    stop: async () => {
      child.kill('SIGSTOP')
      await until('the process is stopped', () => stateOf(child.pid as number) === 'T')
    },
    goOn: () => void child.kill('SIGCONT'),
    kill: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}

export function stateOf(pid: number): string {
  const found = execFileSync('ps', ['-o', 'state=', '-p', String(pid)], { encoding: 'utf8' })
  return found.trim().charAt(0)
}
