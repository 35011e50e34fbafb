import { expect, test } from 'vitest'
import type { Logger } from '../../../src/model/log.ts'
import { type ClaimConnection, NamespaceClaim } from '../../../src/redis/claim.ts'
import { VirtualClock, watch } from '../../support/clock.ts'

/** One key of a Redis, as far as a claim goes. */
class OneKey implements ClaimConnection {
  readonly #clock: VirtualClock
  #held: { readonly value: string; untilMs: number } | undefined
  isDown = false
  /** Commands that have come, while it hangs. */
  hanging: number | undefined
  /** Its lapse comes right after so many more commands that found it. */
  lapsesAfter = 0

  constructor(clock: VirtualClock) {
    this.#clock = clock
  }

  async set(_key: string, value: string, ...[, ms]: ['PX', number, 'NX']): Promise<unknown> {
    if (this.isDown) throw new Error('down')
    if (this.hanging !== undefined) {
      this.hanging++
      return new Promise(() => {})
    }
    if (this.#present) {
      if (this.lapsesAfter > 0 && --this.lapsesAfter === 0) this.flush()
      return null
    }
    this.#held = { value, untilMs: this.#clock.monotonicMs() + ms }
    return 'OK'
  }

  async get(): Promise<string | null> {
    return this.#present?.value ?? null
  }

  async pexpire(_key: string, ms: number): Promise<unknown> {
    if (!this.#present) return 0
    this.#present.untilMs = this.#clock.monotonicMs() + ms
    return 1
  }

  flush(): void {
    this.#held = undefined
  }

  get #present() {
    return this.#held && this.#held.untilMs > this.#clock.monotonicMs() ? this.#held : undefined
  }
}

function open() {
  const clock = new VirtualClock()
  const redis = new OneKey(clock)
  const errors: string[] = []
  const log = {
    debug: () => {},
    error: (_: object, message: string) => errors.push(message),
  } as unknown as Logger
  const claim = (database: string) =>
    new NamespaceClaim(redis, 'shop:database', database, clock, log)
  const pass = (ms: number): Promise<void> => clock.advance(ms)
  return { clock, redis, claim, errors, pass }
}

test('instances of one database share a namespace; one of another is refused', async () => {
  const { claim } = open()
  await claim('one').start(2_000)
  await claim('one').start(2_000)
  await expect(claim('other').start(2_000)).rejects.toMatchObject({ code: 'NAMESPACE_TAKEN' })
})

test('a claim is kept up while its instance runs, and lapses 30 s after its end', async () => {
  const { claim, pass } = open()
  const one = claim('one')
  await one.start(2_000)
  await pass(120_000)
  await expect(claim('other').start(2_000)).rejects.toMatchObject({ code: 'NAMESPACE_TAKEN' })
  one.close()
  await pass(31_000)
  await claim('other').start(2_000)
})

test('a Redis that is down at the start is asked again, and what is found then is said', async () => {
  const { redis, claim, errors, pass } = open()
  redis.isDown = true
  await claim('one').start(2_000)
  await claim('other').start(2_000)
  expect(errors).toEqual([])
  redis.isDown = false
  await pass(11_000)
  expect(errors).toEqual(['instances with another database use this namespace in this Redis'])
})

test('a claim that Redis has lost is made anew', async () => {
  const { redis, claim, pass } = open()
  await claim('one').start(2_000)
  redis.flush()
  await pass(11_000)
  await expect(claim('other').start(2_000)).rejects.toMatchObject({ code: 'NAMESPACE_TAKEN' })
})

test('a claim that lapses while it is asked for is made anew, by one of two', async () => {
  const { redis, claim } = open()
  const gone = claim('gone')
  await gone.start(2_000)
  gone.close()
  redis.lapsesAfter = 2
  const starts = await Promise.allSettled([claim('one').start(2_000), claim('other').start(2_000)])
  expect(starts.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
})

test('a Redis that hangs holds up no start for longer than its deadline, and keeps one command', async () => {
  const { clock, redis, claim, errors, pass } = open()
  redis.hanging = 0
  const one = claim('one')
  const started = watch(one.start(2_000))
  await pass(1_999)
  expect(started.state).toBe('pending')
  await pass(1)
  expect(started.state).toBe('resolved')
  await pass(120_000)
  expect(redis.hanging).toBe(1)
  one.close()
  await pass(0)
  expect(clock.timers).toBe(0)
  expect(errors).toEqual([])
})

test('a close ends what is under way', async () => {
  const { clock, redis, claim, pass } = open()
  const one = claim('one')
  await one.start(2_000)
  redis.hanging = 0
  await pass(10_500)
  expect([redis.hanging, clock.timers]).toEqual([1, 1])
  one.close()
  await pass(0)
  expect(clock.timers).toBe(0)
})
