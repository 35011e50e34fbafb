/** Calls of a process that was forked: `{ call, act, argument }` goes there, `{ call, value }` or `{ call, error }` comes back. */
import type { ChildProcess } from 'node:child_process'

interface Answer {
  readonly call?: number
  readonly value?: unknown
  readonly error?: string
}

export interface Calls {
  /** Rejects with what the process says went wrong, or when it has ended. */
  ask<T>(act: string, argument?: unknown): Promise<T>
  /** What it says of its own accord. */
  onWord: (word: unknown) => void
}

export function callsOf(child: ChildProcess): Calls {
  const open = new Map<number, { resolve: (value: never) => void; reject: (e: Error) => void }>()
  let numbers = 0
  child.on('message', (message: Answer) => {
    if (message.call === undefined) return calls.onWord(message)
    const waiting = open.get(message.call)
    open.delete(message.call)
    if (message.error === undefined) waiting?.resolve(message.value as never)
    else waiting?.reject(new Error(message.error))
  })
  child.once('exit', () => {
    for (const { reject } of open.values()) reject(new Error('the process has ended'))
  })
  const calls: Calls = {
    ask: (act, argument) =>
      new Promise((resolve, reject) => {
        const call = ++numbers
        open.set(call, { resolve, reject })
        child.send({ call, act, argument }, (error) => {
          if (error) reject(error)
        })
      }),
    onWord: () => {},
  }
  return calls
}
