import type { LogLevel } from '../config.ts'
import { messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'

const levels = ['debug', 'info', 'warn', 'error'] as const

/** A line an event on stderr: stdout is for results. */
export function stderrLog(least: LogLevel, name: string): Logger {
  const from = least === 'silent' ? levels.length : levels.indexOf(least)
  const log =
    (level: (typeof levels)[number]) =>
    (details: object, message: string): void => {
      if (levels.indexOf(level) < from) return
      const { err, ...others } = details as { err?: unknown }
      const rest = Object.entries(others).map(([key, value]) => ` ${key}=${String(value)}`)
      const cause = err === undefined ? '' : `: ${messageOf(err)}`
      const line = `${message}${rest.join('')}${cause}`.replace(/\s*[\r\n]\s*/g, ' ')
      process.stderr.write(`${name}: ${level}: ${line}\n`)
    }
  return { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }
}
