/** The instances of a cell, in processes of their own; those of the next cell load their code meanwhile. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defaultQuery } from '../../src/prometheus/fleet.ts'
import type { LeftLine } from '../history/format.ts'
import type { Recording } from '../history/recording.ts'
import { type Forked, forkOne } from '../support/forked.ts'
import { coldIds, ids, type Stage, steadyIds, wellId } from './stage.ts'

const script = fileURLToPath(new URL('./children/instance.mjs', import.meta.url))

export const maxConcurrentLoads = 16
/** Where each statement takes 100 ms longer, a few dozen writes a second are as many connections at once. */
const poolSize = 40
/** Short beside a fault of some seconds, as the defaults are beside one of a minute. */
const hop = { openFor: '500ms', openForAtMost: '2s', rampUp: '1s' }
const holdFor = '2s'
const windowOfQuery = '[5s]'

export interface Seen {
  readonly mostLoads: number
  /** What came of asking Prometheus, by outcome. */
  readonly fleetAnswers: Readonly<Record<string, number>>
}

export interface Instance {
  /** Where its samples are, once it rests. */
  readonly samples: string
  warm(): Promise<void>
  isWell(): Promise<boolean>
  load(): Promise<void>
  /** Ends its load. */
  rest(): Promise<Seen>
  left(): Promise<readonly LeftLine[]>
  close(): Promise<void>
}

export interface OpenOptions {
  readonly stage: Stage
  readonly namespace: string
  readonly topic: string
  readonly recording: Recording
  readonly folder: string
  readonly perSecond: number
  readonly seed: number
  readonly tryDeadlineMs: number
}

/** Keeps one process per instance that has its code loaded. */
export class Instances {
  readonly #count: number
  #spare: readonly Forked[]

  constructor(count: number) {
    this.#count = count
    this.#spare = this.#fork()
  }

  async open(options: OpenOptions): Promise<readonly Instance[]> {
    const processes = this.#spare
    this.#spare = this.#fork()
    return Promise.all(processes.map((process, index) => openOne(process, index, options)))
  }

  #fork(): readonly Forked[] {
    return Array.from({ length: this.#count }, () =>
      forkOne(script, ['ignore', 'ignore', 'inherit', 'ipc']),
    )
  }
}

async function openOne(
  { here, exited, calls: { ask } }: Forked,
  index: number,
  options: OpenOptions,
): Promise<Instance> {
  const { stage, namespace, topic, recording, folder, perSecond, seed, tryDeadlineMs } = options
  const { proxies } = stage
  const number = index + 1
  const samples = join(folder, `samples-${number}.jsonl`)
  await here
  await ask('open', {
    process: number,
    ...{ ids, wellId, steadyIds, namespace, perSecond, samples, maxConcurrentLoads },
    firstCold: 1 + index * coldIds,
    seed: seed + index,
    epoch: String(recording.epoch),
    record: recording.fileOf(number),
    postgres: {
      connectionString: proxies.postgres.through(stage.postgresUrl),
      pool: { max: poolSize },
    },
    redis: proxies.redis.through(stage.redisUrl),
    kafka: { brokers: [...stage.kafka.brokers], topic, port: proxies.kafka.port },
    prometheus: {
      url: proxies.prometheus.through(stage.prometheus.url),
      query: defaultQuery(namespace).replaceAll('[1m]', windowOfQuery),
      interval: '1s',
      holdFor,
    },
    timing: { loadDeadline: tryDeadlineMs, writeDeadline: tryDeadlineMs },
    hops: { l2: hop, source: hop, bus: hop },
    metricsPort: stage.metricsPorts[index],
  })
  return {
    samples,
    warm: () => ask('warm'),
    isWell: () => ask<boolean>('isWell').catch(() => false),
    load: () => ask('load'),
    rest: () => ask('rest'),
    left: () => ask('left'),
    close: async () => {
      await ask('close')
      await exited
    },
  }
}
