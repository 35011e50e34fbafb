import { expect, test } from 'vitest'
import type { Logger } from '../../../src/model/log.ts'
import { type ClaimConnection, NamespaceClaim } from '../../../src/redis/claim.ts'
import { VirtualClock } from '../../support/clock.ts'

/** One key of a Redis, as far as a claim goes. */
class OneKey implements ClaimConnection {
  readonly #clock: VirtualClock
  #held: { readonly value: string; untilMs: number } | undefined
  isDown = false

  constructor(clock: VirtualClock) {
    this.#clock = clock
  }

  async set(_key: string, value: string, ...[, ms]: ['PX', number, 'NX']): Promise<unknown> {
    if (this.isDown) throw new Error('down')
    if (this.#present) return null
    this.#held = { value, untilMs: this.#clock.monotonicMs() + ms }
    return 'OK'
  }

  async get(): Promise<string | null> {
    return this.#present?.value ?? null
  }

  async pexpire(_key: string, ms: number): Promise<unknown> {
    if (this.#held) this.#held.untilMs = this.#clock.monotonicMs() + ms
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
  return { redis, claim, errors, pass }
}

test('instances of one database share a namespace; one of another is refused', async () => {
  const { claim } = open()
  await claim('one').start()
  await claim('one').start()
  await expect(claim('other').start()).rejects.toMatchObject({ code: 'NAMESPACE_TAKEN' })
})

test('a claim is kept up while its instance runs, and lapses 30 s after its end', async () => {
  const { claim, pass } = open()
  const one = claim('one')
  await one.start()
  await pass(120_000)
  await expect(claim('other').start()).rejects.toMatchObject({ code: 'NAMESPACE_TAKEN' })
  one.close()
  await pass(31_000)
  await claim('other').start()
})

test('a Redis that is down at the start is asked again, and what is found then is said', async () => {
  const { redis, claim, errors, pass } = open()
  redis.isDown = true
  await claim('one').start()
  await claim('other').start()
  expect(errors).toEqual([])
  redis.isDown = false
  await pass(11_000)
  expect(errors).toEqual(['instances with another database use this namespace in this Redis'])
})

test('a claim that Redis has lost is made anew', async () => {
  const { redis, claim, pass } = open()
  await claim('one').start()
  redis.flush()
  await pass(11_000)
  await expect(claim('other').start()).rejects.toMatchObject({ code: 'NAMESPACE_TAKEN' })
})
