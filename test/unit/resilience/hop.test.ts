import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { longestHoldMs } from '../../../src/model/fleet.ts'
import { Hop, type HopParts } from '../../../src/resilience/hop.ts'
import { VirtualClock, type Watched, watch } from '../../support/clock.ts'

class Refusal extends Error {}

const deadlineMs = 200
/** After this long the breaker lets calls try. */
const openForMs = 1_000
const rampUpMs = 2_000
/** How many try at once, and have to be answered. */
const probes = 3
const never = new Promise<never>(() => {})

let clock: VirtualClock
let hop: Hop
let states: string[]

function open(settings: HopParts['settings'] = {}, more: Partial<HopParts> = {}): void {
  hop?.close()
  hop = new Hop({
    name: 'l2',
    deadlineMs,
    isAnswer: (error) => error instanceof Refusal,
    settings,
    clock,
    random: () => 0,
    ...more,
  })
  states = []
  hop.onChange(({ state, reason }) =>
    states.push(reason === 'local' ? state : `${state} ${reason}`),
  )
}

beforeEach(() => {
  clock = new VirtualClock()
  open()
})
afterEach(() => {
  hop.close()
  expect(clock.timers).toBe(0)
})

const succeed = (): Promise<number> => Promise.resolve(7)
const fail = (): Promise<never> => Promise.reject(new Error('ECONNREFUSED'))

async function failTimes(times: number): Promise<void> {
  for (let time = 0; time < times; time++) await expect(hop.run(fail)).rejects.toThrow()
}

async function succeedTimes(times: number): Promise<void> {
  for (let time = 0; time < times; time++) await hop.run(succeed)
}

/** As the service is well again from here on. */
async function recover(): Promise<void> {
  await clock.advance(openForMs)
  await succeedTimes(probes)
  await clock.advance(rampUpMs)
}

/** How often a call came through while the hop was asked. */
function counted(call: () => Promise<unknown>): { calls: number; run: () => Promise<unknown> } {
  const counter = { calls: 0, run: () => hop.run(counting) }
  const counting = (): Promise<unknown> => {
    counter.calls++
    return call()
  }
  return counter
}

const statesOf = (watched: readonly Watched<unknown>[]): string =>
  watched.map(({ state }) => state.slice(0, 3)).join(' ')

describe('a call', () => {
  test('has its own outcome', async () => {
    await expect(hop.run(succeed)).resolves.toBe(7)
    await expect(hop.run(fail)).rejects.toThrow('ECONNREFUSED')
  })

  test('that throws before its first wait rejects', async () => {
    const throwing = (): Promise<never> => {
      throw new Error('at once')
    }
    await expect(hop.run(throwing)).rejects.toThrow('at once')
  })

  test('that hangs costs its deadline, not more', async () => {
    const settled = watch(hop.run(() => never))
    await clock.advance(deadlineMs - 1)
    expect(settled.state).toBe('pending')
    await clock.advance(1)
    expect([settled.state, (settled.error as Error).message]).toEqual([
      'rejected',
      'no answer in 200 ms',
    ])
  })

  test('of a closed hop calls nobody any more', async () => {
    const calls = counted(succeed)
    await failTimes(5)
    await clock.advance(openForMs)
    hop.close()
    await expect(calls.run()).rejects.toThrow()
    expect(calls.calls).toBe(0)
  })
})

describe('opening', () => {
  test('a service that hangs costs its deadline a few times, and then nothing', async () => {
    const hanging = counted(() => never)
    for (let call = 0; call < 5; call++) {
      const settled = watch(hanging.run())
      await clock.advance(deadlineMs)
      expect(settled.state).toBe('rejected')
    }
    const settled = watch(hanging.run())
    await clock.settle()
    expect([settled.state, hanging.calls, states]).toEqual(['rejected', 5, ['open']])
    expect(hop.calls).toEqual({ answered: 0, failed: 5, refused: 1 })
  })

  test('a few failures among many answers open nothing', async () => {
    for (let call = 0; call < 20; call++) {
      await hop.run(succeed)
      if (call % 3 === 0) await failTimes(1)
    }
    expect(states).toEqual([])
  })

  test('a service that answers nothing any more is left alone at once, however much it had answered', async () => {
    open({}, { silenceMs: 200 })
    await succeedTimes(1_000)
    const calls = Array.from({ length: 20 }, () => watch(hop.run(() => never)))
    await clock.advance(deadlineMs)
    await failTimes(5)
    expect([states, calls.every(({ state }) => state === 'rejected')]).toEqual([[], true])
    await clock.advance(199)
    await failTimes(1)
    expect(states).toEqual([])
    await clock.advance(1)
    await failTimes(1)
    expect(states).toEqual(['open'])
  })

  test('one answer among them, and it is not', async () => {
    open({}, { silenceMs: 200 })
    await succeedTimes(20)
    for (let round = 0; round < 50; round++) {
      await failTimes(5)
      await clock.advance(199)
      if (round % 2 === 0) await succeedTimes(1)
      else await expect(hop.run(() => Promise.reject(new Refusal()))).rejects.toThrow()
      await succeedTimes(10)
    }
    expect(states).toEqual([])
  })

  test('where nobody stands in the window alone opens it', async () => {
    await succeedTimes(100)
    for (let round = 0; round < 9; round++) {
      await failTimes(11)
      await clock.advance(100)
    }
    expect(states).toEqual([])
  })

  test('failures of long ago open nothing, however few calls there were since', async () => {
    open({}, { silenceMs: 200 })
    for (let call = 0; call < 20; call++) {
      await failTimes(1)
      await clock.advance(1_300)
    }
    expect(states).toEqual([])
  })

  test('what a service refuses is an answer, and opens nothing', async () => {
    const refusing = counted(() => Promise.reject(new Refusal('WRONGTYPE')))
    for (let call = 0; call < 50; call++) await expect(refusing.run()).rejects.toThrow('WRONGTYPE')
    expect([refusing.calls, states]).toEqual([50, []])
    expect(hop.calls).toEqual({ answered: 50, failed: 0, refused: 0 })
  })

  test('goes by the options', async () => {
    open({ leastCalls: 2, errorRatio: 0.1, openForMs: 50 })
    await succeedTimes(8)
    await failTimes(1)
    expect(hop.state).toBe('open')
    await clock.advance(50)
    expect(hop.state).toBe('half-open')
  })

  test('it may say what was refused', async () => {
    const refusal = (): Error => new Refusal('PostgreSQL is not asked')
    const parts = { name: 'source', deadlineMs, isAnswer: () => false, clock, refusal }
    const other = new Hop(parts)
    for (let call = 0; call < 5; call++) await other.run(fail).catch(() => {})
    await expect(other.run(succeed)).rejects.toThrow('PostgreSQL is not asked')
    other.close()
  })
})

describe('half-open', () => {
  beforeEach(async () => {
    await failTimes(5)
    await clock.advance(openForMs)
    expect(states).toEqual(['open', 'half-open'])
  })

  test('several calls try at once, and the others do not wait for them', async () => {
    const trying = counted(() => never)
    const tries = Array.from({ length: 5 }, () => watch(trying.run()))
    await clock.settle()
    expect([statesOf(tries), trying.calls]).toEqual(['pen pen pen rej rej', probes])
    await clock.advance(deadlineMs)
    expect([statesOf(tries), states.at(-1)]).toEqual(['rej rej rej rej rej', 'open'])
  })

  test('one answer is not enough, and one failure is', async () => {
    await succeedTimes(2)
    expect(hop.state).toBe('half-open')
    await failTimes(1)
    expect(states.at(-1)).toBe('open')
  })

  test('one after the other they close it, and nobody was refused', async () => {
    await succeedTimes(probes)
    await clock.advance(rampUpMs)
    expect(states).toEqual(['open', 'half-open', 'closed'])
    expect(hop.calls).toEqual({ answered: 3, failed: 5, refused: 0 })
  })

  test('refusals close it as well: who refuses is well', async () => {
    for (let call = 0; call < probes; call++) {
      await expect(hop.run(() => Promise.reject(new Refusal('OOM')))).rejects.toThrow('OOM')
    }
    await clock.advance(rampUpMs)
    expect(states.at(-1)).toBe('closed')
  })

  test('a late answer to a try of before says nothing about now', async () => {
    let answer = (): void => {}
    const late = watch(hop.run(() => new Promise<void>((resolve) => (answer = resolve))))
    await succeedTimes(2)
    await failTimes(1)
    expect(states.at(-1)).toBe('open')
    answer()
    await clock.settle()
    expect([late.state, hop.state]).toEqual(['resolved', 'open'])
  })
})

describe('half-open, with calls of its own', () => {
  let answer: () => Promise<unknown> | undefined
  let asked: number
  beforeEach(async () => {
    asked = 0
    const probe = (): Promise<unknown> | undefined => {
      asked++
      return answer()
    }
    open({}, { probe })
    await failTimes(5)
  })

  test('a service that hangs costs nobody’s call its deadline', async () => {
    answer = () => never
    await clock.advance(openForMs)
    const call = counted(succeed)
    const refused = watch(call.run())
    await clock.settle()
    expect([hop.state, refused.state, call.calls]).toEqual(['half-open', 'rejected', 0])
    await clock.advance(deadlineMs)
    expect([hop.state, asked]).toEqual(['open', 1])
    await clock.advance(2 * openForMs - 1)
    expect([hop.state, asked]).toEqual(['open', 1])
  })

  test('as many answers as it takes close it, without anybody else’s call', async () => {
    answer = succeed
    await clock.advance(openForMs)
    expect(asked).toBe(probes)
    await hop.run(succeed)
    await clock.advance(rampUpMs)
    expect([hop.state, asked]).toEqual(['closed', probes])
  })

  test('one failure among them opens it again', async () => {
    answer = () => (asked < probes ? succeed() : fail())
    await clock.advance(openForMs)
    expect([hop.state, asked]).toEqual(['open', probes])
  })

  test('a refusal is an answer', async () => {
    answer = () => Promise.reject(new Refusal())
    await clock.advance(openForMs + rampUpMs)
    expect([hop.state, asked]).toEqual(['closed', probes])
  })

  test('while there is nothing that it could ask, the calls of others try', async () => {
    answer = () => undefined
    await clock.advance(openForMs)
    await succeedTimes(probes)
    await clock.advance(rampUpMs)
    expect([hop.state, asked]).toEqual(['closed', 1])
  })

  test('closed meanwhile it asks no more', async () => {
    answer = () => never
    await clock.advance(openForMs)
    hop.close()
    await clock.advance(10 * openForMs)
    expect(asked).toBe(1)
  })
})

describe('closing', () => {
  const crowd = 40

  /** Of a crowd at once, how many came through. */
  async function letThrough(): Promise<number> {
    const calls = counted(succeed)
    await Promise.allSettled(Array.from({ length: crowd }, calls.run))
    return calls.calls
  }

  beforeEach(async () => {
    await failTimes(5)
    await clock.advance(openForMs)
    await succeedTimes(probes)
  })

  test('a share of the calls that grows is let through, up to all of them', async () => {
    const shares: number[] = []
    for (let step = 0; step < 4; step++) {
      shares.push(await letThrough())
      await clock.advance(rampUpMs / 4)
    }
    shares.push(await letThrough())
    expect(shares.toSorted((one, other) => one - other)).toEqual(shares)
    expect(shares[0]).toBeLessThan(crowd / 4)
    expect(shares[2]).toBeGreaterThan(crowd / 3)
    expect(shares[4]).toBe(crowd)
    expect(states).toEqual(['open', 'half-open', 'closed'])
  })

  test('where little is asked for nobody is refused', async () => {
    for (let call = 0; call < 50; call++) {
      await hop.run(succeed)
      await clock.advance(rampUpMs / 50)
    }
    expect(hop.calls.refused).toBe(0)
  })

  test('a service that falls over again is left alone for longer', async () => {
    await failTimes(5)
    expect(states.at(-1)).toBe('open')
    await clock.advance(openForMs)
    expect(states.at(-1)).toBe('open')
    await clock.advance(openForMs)
    expect(states.at(-1)).toBe('half-open')
  })

  test('without a ramp it is closed at once', async () => {
    open({ rampUpMs: 0 })
    await failTimes(5)
    await clock.advance(openForMs)
    await succeedTimes(probes)
    expect(hop.state).toBe('closed')
  })
})

describe('how long it stays open', () => {
  async function openForAWhile(): Promise<number> {
    const beganAtMs = clock.monotonicMs()
    while (hop.state === 'open') clock.fireNext()
    return clock.monotonicMs() - beganAtMs
  }

  test('doubles with each try that fails, up to a bound', async () => {
    await failTimes(5)
    const pauses: number[] = []
    for (let attempt = 0; attempt < 7; attempt++) {
      pauses.push(await openForAWhile())
      await failTimes(1)
    }
    expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000])
  })

  test('begins anew when all was well for long, and not before', async () => {
    await failTimes(5)
    await recover()
    await failTimes(5)
    expect(await openForAWhile()).toBe(2_000)
    await succeedTimes(probes)
    await clock.advance(rampUpMs + 10_000)
    await failTimes(5)
    expect(await openForAWhile()).toBe(1_000)
  })

  test('is a little shorter by chance, so that many don’t come back at once', async () => {
    const spread = [0, 0.5, 1].map((chance) => {
      const other = new Hop({
        name: 'l2',
        deadlineMs,
        isAnswer: () => false,
        clock,
        random: () => chance,
      })
      return other
    })
    for (const other of spread) {
      for (let call = 0; call < 5; call++) await other.run(fail).catch(() => {})
    }
    await clock.advance(900)
    expect(spread.map(({ state }) => state)).toEqual(['open', 'open', 'half-open'])
    await clock.advance(50)
    expect(spread.map(({ state }) => state)).toEqual(['open', 'half-open', 'half-open'])
    for (const other of spread) other.close()
  })
})

describe('with a signal its owner keeps the deadline', () => {
  const giveUp = new Error('the owner’s own')

  async function abandonAfter(ms: number): Promise<Watched<unknown>> {
    const controller = new AbortController()
    const settled = watch(hop.run(() => never, controller.signal))
    await clock.advance(ms)
    controller.abort(giveUp)
    await clock.settle()
    return settled
  }

  test('the hop ends nothing, and rejects with the signal’s reason', async () => {
    const settled = await abandonAfter(10 * deadlineMs)
    expect(settled.error).toBe(giveUp)
    expect(clock.timers).toBe(0)
  })

  test('what is given up late had no answer', async () => {
    for (let call = 0; call < 5; call++) await abandonAfter(deadlineMs / 2)
    expect(states).toEqual(['open'])
  })

  test('what is given up early says nothing, not even to a half-open breaker', async () => {
    for (let call = 0; call < 20; call++) await abandonAfter(deadlineMs / 2 - 1)
    expect(states).toEqual([])
    await clock.advance(10_000)
    await failTimes(5)
    await clock.advance(openForMs)
    for (let call = 0; call < 20; call++) await abandonAfter(1)
    expect(hop.state).toBe('half-open')
    await abandonAfter(deadlineMs)
    expect(hop.state).toBe('open')
  })

  test('one that has aborted makes no call', async () => {
    const calls = counted(succeed)
    const aborted = AbortSignal.abort(giveUp)
    await expect(hop.run(() => calls.run(), aborted)).rejects.toBe(giveUp)
    expect(calls.calls).toBe(0)
  })
})

describe('tightened from outside', () => {
  const untilIn = (ms: number): number => clock.monotonicMs() + ms

  test('it is open until then, and comes back as ever', async () => {
    hop.tighten(untilIn(60_000), 'open')
    await expect(hop.run(succeed)).rejects.toThrow()
    await clock.advance(59_999)
    await expect(hop.run(succeed)).rejects.toThrow()
    await clock.advance(1)
    await succeedTimes(probes)
    await clock.advance(rampUpMs)
    expect(states).toEqual(['open fleet', 'half-open fleet', 'closed fleet'])
  })

  test('limited it lets as many through at once as it has probes', async () => {
    hop.tighten(untilIn(60_000), 'limit')
    const calls = counted(() => never)
    const crowd = Array.from({ length: 10 }, () => watch(calls.run()))
    await clock.settle()
    expect([calls.calls, hop.state]).toEqual([probes, 'half-open'])
    await clock.advance(deadlineMs)
    expect(crowd.every(({ state }) => state === 'rejected')).toBe(true)
    await succeedTimes(20)
    await clock.advance(60_000 - deadlineMs)
    await clock.advance(rampUpMs)
    expect(states).toEqual(['half-open fleet', 'closed fleet'])
  })

  test('what the process itself sees is stricter, and comes back to the limit', async () => {
    hop.tighten(untilIn(60_000), 'limit')
    await failTimes(5)
    expect(states).toEqual(['half-open fleet', 'open'])
    await clock.advance(openForMs)
    await succeedTimes(probes)
    await clock.advance(rampUpMs)
    expect(hop.state).toBe('half-open')
    await clock.advance(60_000)
    expect(hop.state).toBe('closed')
  })

  test('it makes nothing looser: an open breaker stays open for as long as it would', async () => {
    open({ openForMs: 8_000 })
    await failTimes(5)
    hop.tighten(untilIn(1_000), 'open')
    hop.tighten(untilIn(1_000), 'limit')
    await clock.advance(7_999)
    expect(states).toEqual(['open'])
    hop.tighten(untilIn(3_000), 'open')
    await clock.advance(2_999)
    expect(hop.state).toBe('open')
    await clock.advance(1)
    expect(hop.state).toBe('half-open')
  })

  test('nobody holds it for longer than it lets itself be held', async () => {
    hop.tighten(Number.POSITIVE_INFINITY, 'open')
    await clock.advance(longestHoldMs)
    expect(hop.state).toBe('half-open')
  })

  test('a time that is over, or a hop that is closed, is not tightened', () => {
    hop.tighten(clock.monotonicMs(), 'open')
    hop.tighten(Number.NaN, 'open')
    hop.close()
    hop.tighten(untilIn(1_000), 'open')
    hop.tighten(untilIn(1_000), 'limit')
    expect([states, hop.state]).toEqual([[], 'closed'])
  })
})

test('the state is as the last change said', async () => {
  expect(hop.state).toBe('closed')
  await failTimes(10)
  expect([hop.state, states.at(-1)]).toEqual(['open', 'open'])
  await clock.advance(openForMs)
  expect([hop.state, states.at(-1)]).toEqual(['half-open', 'half-open'])
  await succeedTimes(probes)
  await clock.advance(rampUpMs)
  expect([hop.state, states.at(-1)]).toEqual(['closed', 'closed'])
})
