/** `lockstep serve`: what instances of a cache do beside answering, in a process of its own. */
import { openAdmin, type Readiness } from './admin/http.ts'
import { complain } from './command-line.ts'
import type { Config } from './config.ts'
import { healthOf } from './health.ts'
import { daemon } from './lockstep.ts'
import { LockstepError } from './model/errors.ts'
import type { RunningCache } from './running-cache.ts'
import { commandLog, isOnTerminal } from './telemetry/log.ts'

export interface ServeOptions {
  readonly host: string
  readonly port: number
}

export interface ServeArguments {
  readonly host?: string
  readonly port?: string
}

const closeTimeoutMs = 5_000
const speaker = 'lockstep serve'

export function parseServeOptions({ host, port }: ServeArguments, config: Config): ServeOptions {
  const given = port ?? config.servePort
  const number = /^\d{1,5}$/.test(given) ? Number(given) : Number.NaN
  if (!(number <= 65_535)) {
    throw new LockstepError(
      'OPTION_INVALID',
      `option "--port" is ${JSON.stringify(given)}; 0 to 65535 would do`,
    )
  }
  return { host: host || config.serveHost, port: number }
}

interface Serving {
  readonly namespace: string
  readonly url: string
}

/** What it says whatever its level: that it serves, or why it can't; as its log where nobody sits before it. */
export function wordsOfServe(): {
  readonly serving: (serving: Serving) => void
  readonly failed: (message: string, code: string | undefined) => void
} {
  if (isOnTerminal()) {
    return {
      serving: ({ namespace, url }) => complain(`serving namespace "${namespace}" at ${url}`),
      failed: complain,
    }
  }
  const log = commandLog(speaker, 'info')
  return {
    serving: (serving) => log.info(serving, 'serving'),
    failed: (message, code) => log.error({ code }, message),
  }
}

/** Runs until the signal aborts, and ends in order then. */
export async function serve(
  { host, port }: ServeOptions,
  { databaseUrl, redisUrl, flags, kafka, prometheusUrl, logLevel, namespace }: Config,
  signal: AbortSignal,
  serving: (serving: Serving) => void,
): Promise<void> {
  const log = commandLog(speaker, logLevel ?? 'info')
  if (databaseUrl === undefined) {
    throw new LockstepError(
      'OPTION_INVALID',
      'DATABASE_URL is not set; postgres://user@host:5432/database would do',
    )
  }
  const cache = await daemon({
    namespace,
    postgres: databaseUrl,
    redis: redisUrl,
    kafka,
    prometheus: prometheusUrl,
    flags: { override: flags },
    logger: log,
  })
  try {
    const { registry } = cache.telemetry
    const admin = await openAdmin({
      host,
      port,
      log,
      metrics: async () => ({
        contentType: registry.contentType,
        text: await registry.metrics(),
      }),
      readiness: () => readinessOf(cache),
    })
    try {
      serving({ namespace, url: admin.url })
      await aborted(signal)
      log.info({}, 'ending')
    } finally {
      await admin.close()
    }
  } finally {
    await cache.close(closeTimeoutMs)
  }
  log.info({}, 'ended')
}

/** Without an answer of PostgreSQL it can do nothing of what it is for. */
function readinessOf(cache: RunningCache): Readiness {
  const { ready, status, ...details } = healthOf(cache)
  return { isReady: ready, details: { ...details, degraded: status === 'degraded' } }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
