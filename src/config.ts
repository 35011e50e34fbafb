/** The environment, read once and checked; nothing else reads `process.env`. */
import { LockstepError } from './model/errors.ts'

export interface Config {
  readonly databaseUrl: string | undefined
  readonly redisUrl: string | undefined
  readonly namespace: string
  readonly logLevel: LogLevel
}

const logLevels = ['silent', 'error', 'warn', 'info', 'debug'] as const
export type LogLevel = (typeof logLevels)[number]

export function readConfig(environment: NodeJS.ProcessEnv = process.env): Config {
  const logLevel = environment.LOCKSTEP_LOG_LEVEL || 'warn'
  if (!logLevels.includes(logLevel as LogLevel)) {
    throw new LockstepError(
      'OPTION_INVALID',
      `LOCKSTEP_LOG_LEVEL is ${JSON.stringify(logLevel)}; ${logLevels.join(', ')} would do`,
    )
  }
  return {
    databaseUrl: environment.DATABASE_URL || undefined,
    redisUrl: environment.REDIS_URL || undefined,
    namespace: environment.LOCKSTEP_NAMESPACE || 'lockstep',
    logLevel: logLevel as LogLevel,
  }
}
