import { Duplex } from 'node:stream'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { openClient } from '../../../src/kafka/client.ts'
import { settleKafka } from '../../../src/kafka/options.ts'
import { silent } from '../../../src/model/log.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** Connected at once, and silent. */
class HungSocket extends Duplex {
  constructor(onConnect: () => void) {
    super({ read: () => {}, write: (_bytes, _encoding, written) => written() })
    queueMicrotask(onConnect)
  }
  setKeepAlive(): this {
    return this
  }
  unref(): this {
    return this
  }
}

test.each([
  [undefined, 1_000],
  [500, 1_000],
  [4_000, 4_000],
])('with connectionTimeout %s a broker has %s ms for its first answer', async (given, ms) => {
  const sockets: HungSocket[] = []
  const settings = settleKafka(
    {
      brokers: 'broker:9092',
      ...(given === undefined ? {} : { connectionTimeout: given }),
      socketFactory: ({ onConnect }) => {
        const socket = new HungSocket(onConnect)
        sockets.push(socket)
        return socket as never
      },
    },
    'shop',
  )
  const client = openClient(settings, { log: silent, requestTimeoutMs: 30_000 })
  const connected = client.kafka.admin().connect()
  connected.catch(() => {})
  await vi.advanceTimersByTimeAsync(ms - 1)
  expect(sockets.map(({ destroyed }) => destroyed)).toEqual([false])
  await vi.advanceTimersByTimeAsync(1)
  expect(sockets[0]?.destroyed).toBe(true)
  client.destroy()
  await vi.runAllTimersAsync()
  await expect(connected).rejects.toThrow()
  expect(vi.getTimerCount()).toBe(0)
})
