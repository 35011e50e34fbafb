// What a process says of itself: lines of JSON in a file of its own. What is flushed lies with the
// operating system, so a SIGKILL takes away nothing but the line that it falls into.
import { openSync, writeSync } from 'node:fs'

const flushEveryMs = 20

export function openRecord(file, epochNs) {
  const output = openSync(file, 'a')
  let lines = ''
  const flush = () => {
    if (lines === '') return
    writeSync(output, lines)
    lines = ''
  }
  setInterval(flush, flushEveryMs).unref()
  return {
    now: () => Number(process.hrtime.bigint() - epochNs),
    add: (line) => {
      lines += `${JSON.stringify(line)}\n`
    },
    flush,
  }
}

/**
 * The clock port with a wall clock that can be stepped. It also knows the moment t that a bounded read
 * of now is judged by: one reading of the clock serves an event-loop turn (DESIGN §3), and a process
 * that is stopped within the turn goes on with it. So t is the first reading of this round of the loop.
 */
export function openClock(record) {
  let offsetMs = 0
  let turnNs
  const look = () => {
    if (turnNs === undefined) {
      turnNs = record.now()
      setImmediate(() => {
        turnNs = undefined
      })
    }
    return turnNs
  }
  return {
    turnNs: look,
    step: (ms) => {
      offsetMs = ms
    },
    port: {
      monotonicMs: () => {
        look()
        return performance.now()
      },
      wallMs: () => Date.now() + offsetMs,
      defer: (run) => process.nextTick(run),
      after: (ms, run) => {
        const timer = setTimeout(run, ms)
        return () => clearTimeout(timer)
      },
    },
  }
}
