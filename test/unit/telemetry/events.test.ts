import { beforeEach, expect, test } from 'vitest'
import { LockstepError } from '../../../src/model/errors.ts'
import { silent } from '../../../src/model/log.ts'
import { type CacheEvents, Events, mostListeners } from '../../../src/telemetry/events.ts'
import { quiet } from '../../support/clock.ts'

let events: Events
let failures: { event: unknown; message: string }[]
beforeEach(() => {
  failures = []
  events = new Events({
    ...silent,
    error: ({ event }: { event?: unknown }, message) => void failures.push({ event, message }),
  })
})

const open: CacheEvents['breaker'] = { hop: 'l2', state: 'open', reason: 'local' }
const tell = (): void => events.emit('breaker', () => open)

test('every listener of the event is called, in order, until it unsubscribes', () => {
  const told: string[] = []
  const first = events.on('breaker', ({ state }) => told.push(`first ${state}`))
  events.on('breaker', ({ hop }) => told.push(`second ${hop}`))
  events.on('trust', () => told.push('another event'))
  tell()
  first()
  first()
  tell()
  expect(told).toEqual(['first open', 'second l2', 'second l2'])
})

test('a function that listens twice is called twice, and unsubscribed once each', () => {
  let calls = 0
  const listener = () => calls++
  const unsubscribe = events.on('breaker', listener)
  events.on('breaker', listener)
  tell()
  unsubscribe()
  tell()
  expect(calls).toBe(3)
})

test('an event that nobody listens to is not built', () => {
  const unsubscribe = events.on('trust', () => {})
  const build = (): never => {
    throw new Error('built')
  }
  events.emit('breaker', build)
  unsubscribe()
  events.emit('trust', build)
})

test('a listener that throws or rejects is logged, and the next is called', async () => {
  let calls = 0
  events.on('breaker', () => {
    throw new Error('thrown')
  })
  events.on('breaker', () => Promise.reject(new Error('rejected')))
  events.on('breaker', () => {
    throw undefined
  })
  events.on('breaker', () => calls++)
  tell()
  await quiet()
  expect(calls).toBe(1)
  expect(failures.map(({ event }) => event)).toEqual(['breaker', 'breaker', 'breaker'])
  expect(failures.map(({ message }) => message).sort()).toEqual([
    'a listener failed: rejected',
    'a listener failed: thrown',
    'a listener failed: undefined',
  ])
})

test('a listener may subscribe and unsubscribe while it is called', () => {
  const told: string[] = []
  const unsubscribe = events.on('breaker', () => {
    told.push('once')
    unsubscribe()
    events.on('breaker', () => told.push('later'))
  })
  tell()
  tell()
  expect(told).toEqual(['once', 'later'])
})

test('listeners of one event have a bound, and room when one has gone', () => {
  const unsubscribe = events.on('breaker', () => {})
  for (let times = 1; times < mostListeners; times++) events.on('breaker', () => {})
  const one = () => events.on('breaker', () => {})
  expect(one).toThrow(expect.objectContaining({ code: 'OPTION_INVALID' }))
  expect(one).toThrow(/101th of .*breaker.* at most 100 would do/)
  events.on('trust', () => {})
  unsubscribe()
  one()
})

test('what is no event, or no function, is told', () => {
  const codeOf = (call: () => unknown): unknown => {
    try {
      return call()
    } catch (error) {
      return error instanceof LockstepError && `${error.code} ${error.message}`
    }
  }
  expect(codeOf(() => events.on('hit' as never, () => {}))).toMatch(
    /^OPTION_INVALID .*"hit"; one of trust, breaker, .* would do/,
  )
  expect(codeOf(() => events.on('constructor' as never, () => {}))).toMatch(/^OPTION_INVALID/)
  expect(codeOf(() => events.on(undefined as never, () => {}))).toMatch(/^OPTION_INVALID/)
  expect(codeOf(() => events.on('trust', {} as never))).toMatch(/^OPTION_INVALID .*function/)
})

test('after the close nobody is called, and nobody may listen', () => {
  let calls = 0
  const unsubscribe = events.on('breaker', () => calls++)
  events.close()
  tell()
  unsubscribe()
  expect(calls).toBe(0)
  expect(() => events.on('breaker', () => {})).toThrow(expect.objectContaining({ code: 'CLOSED' }))
})
