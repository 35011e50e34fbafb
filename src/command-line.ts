/** What the commands share: how they answer, how they fail, how they are ended. */
import { readConfig } from './config.ts'
import { LockstepError, messageOf } from './model/errors.ts'
import { redactText } from './model/redact.ts'
import { checkSchema } from './postgres/migrations.ts'
import { openPool, type Pool } from './postgres/pool.ts'

export const done = 0
export const failed = 1
export const usedWrongly = 2

export interface JsonOption {
  readonly json?: true
}

export function print(document: unknown, text: string, { json }: JsonOption): void {
  process.stdout.write(json ? `${JSON.stringify(document, null, 2)}\n` : text)
}

export function complain(text: string): void {
  process.stderr.write(`lockstep: ${text}\n`)
}

export function onSchema<T>(run: (pool: Pool) => Promise<T>): Promise<T> {
  return withPool(async (pool) => {
    await checkSchema(pool)
    return run(pool)
  })
}

export async function withPool<T>(run: (pool: Pool) => Promise<T>): Promise<T> {
  const { databaseUrl } = readConfig()
  if (databaseUrl === undefined) {
    throw new LockstepError(
      'OPTION_INVALID',
      'DATABASE_URL is not set; postgres://user@host:5432/database would do',
    )
  }
  const pool = openPool(databaseUrl)
  try {
    return await run(pool)
  } finally {
    await pool.close()
  }
}

/** Runs a command, and tells of its error in the way that was asked for. */
export async function answering(
  { json }: JsonOption,
  run: () => Promise<void>,
  tell: (text: string, code: string | undefined) => void = complain,
): Promise<void> {
  try {
    await run()
  } catch (error) {
    const code = error instanceof LockstepError ? error.code : undefined
    const message = redactText(messageOf(error))
    tell(message, code)
    if (json) {
      const document = { error: { ...(code && { code }), message } }
      process.stdout.write(`${JSON.stringify(document, null, 2)}\n`)
    }
    const isWrong = code === 'OPTION_INVALID' || code === 'ID_INVALID'
    process.exitCode = isWrong ? usedWrongly : failed
  }
}

/** The first signal ends the work in order, the second one at once. */
export async function untilSignalled<T>(run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stopped = new AbortController()
  const stop = (signal: NodeJS.Signals): void => stopped.abort(new Error(`stopped by ${signal}`))
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const signal of signals) process.once(signal, stop)
  try {
    return await run(stopped.signal)
  } finally {
    for (const signal of signals) process.off(signal, stop)
  }
}
