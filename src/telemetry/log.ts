/**
 * The log of the commands, on stderr: stdout is for results. On a terminal a line to be read, anywhere
 * else a line of JSON as pino writes it, for who collects logs. Whatever is written has been redacted.
 */
import { pino } from 'pino'
import { messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { redacting } from '../model/redact.ts'

const levels = ['debug', 'info', 'warn', 'error'] as const
type Level = (typeof levels)[number]

/** What is written while nobody reads is kept up to this, and lost beyond: a full pipe stops nothing. */
const mostUnwrittenBytes = 1024 * 1024

/** `name`: who speaks. */
export function commandLog(name: string, least: Level | 'silent' = 'warn'): Logger {
  return redacting(isOnTerminal() ? linesOf(least, name) : jsonOf(least, name))
}

export function isOnTerminal(): boolean {
  return process.stderr.isTTY === true
}

/** One for the process: two that write to one pipe would write into each other's lines. */
let stderr: ReturnType<typeof pino.destination> | undefined

function jsonOf(level: Level | 'silent', name: string): Logger {
  stderr ??= openStderr()
  return pino({ name, level }, stderr)
}

function openStderr(): ReturnType<typeof pino.destination> {
  const opened = pino.destination({ dest: 2, sync: false, maxLength: mostUnwrittenBytes })
  const log = pino({ name: 'lockstep' }, opened)
  let lost = 0
  opened.on('drop', () => {
    lost++
  })
  // On a disk that is full: it is tried again with the next line. At the end of the process pino would wait
  // for room until there is some.
  const flushSync = opened.flushSync.bind(opened)
  opened.on('error', () => {
    opened.flushSync = () => {}
  })
  opened.on('write', () => {
    opened.flushSync = flushSync
  })
  opened.on('drain', () => {
    if (lost === 0) return
    const lines = lost
    lost = 0
    log.warn({ lines }, 'lines of the log were lost: nobody read them')
  })
  return opened
}

function linesOf(least: Level | 'silent', name: string): Logger {
  const from = least === 'silent' ? levels.length : levels.indexOf(least)
  const log =
    (level: Level) =>
    (details: object, message: string): void => {
      if (levels.indexOf(level) >= from) process.stderr.write(lineOf(name, level, details, message))
    }
  return { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }
}

/** One line, whatever there is to say. */
export function lineOf(name: string, level: string, details: object, message: string): string {
  const { err, ...others } = details as { err?: unknown }
  const rest = Object.entries(others).flatMap(([key, value]) =>
    value === undefined
      ? []
      : [` ${key}=${typeof value === 'object' ? JSON.stringify(value) : String(value)}`],
  )
  const cause = err === undefined ? '' : `: ${messageOf(err)}`
  const line = `${message}${rest.join('')}${cause}`.replace(/\s*[\r\n]\s*/g, ' ')
  // What came from elsewhere must not write to the terminal as it likes.
  return `${name}: ${level}: ${line.replace(/\p{Cc}/gu, ' ')}\n`
}
