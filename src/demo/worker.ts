/** One of the demo's processes, forked by `crew.ts`. */
import { messageOf } from '../model/errors.ts'
import type { FromWorker, ToWorker } from './messages.ts'
import { openShift, type Shift } from './shift.ts'

const stopped = new AbortController()
let opened: Promise<Shift> | undefined

function tell(message: FromWorker): Promise<void> {
  return new Promise((resolve) => {
    // A demo that is gone needs no answer: `disconnect` ends this process.
    if (process.connected) process.send?.(message, () => resolve())
    else resolve()
  })
}

async function hear(message: ToWorker): Promise<void> {
  switch (message.kind) {
    case 'open':
      opened = openShift(message.settings, tell)
      if (!message.settings.isSuccessor) await (await opened).prepare(stopped.signal)
      await opened
      return tell({ kind: 'ready' })
    case 'go': {
      const shift = await (opened as Promise<Shift>)
      await shift.run(message.epochNs, message.seconds, stopped.signal)
      await tell({ kind: 'done' })
      return leave()
    }
    case 'hand':
      return (await opened)?.take(message.hand)
    case 'new-row':
      return (await opened)?.lookFor(message.id)
    case 'stop':
      return stop()
    default:
      message satisfies never
  }
}

async function stop(): Promise<void> {
  stopped.abort()
  await leave()
}

let left: Promise<void> | undefined

function leave(): Promise<void> {
  left ??= (async () => {
    await (await opened)?.close()
    process.disconnect()
  })()
  return left
}

process.on('message', (message: ToWorker) => {
  hear(message).catch(async (error: unknown) => {
    await tell({ kind: 'failed', message: messageOf(error) })
    process.exit(1)
  })
})
// Ctrl-C reaches the whole process group, but only the demo decides when this one ends.
process.on('SIGINT', () => {})
// The demo is gone, however it went.
process.on('disconnect', () => process.exit(left === undefined ? 1 : 0))
