/** The breaker over random calls, pauses and holds: what holds of it whatever happens. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Hop } from '../../src/resilience/hop.ts'
import type { BreakerReason, BreakerState } from '../../src/resilience/phase.ts'
import { VirtualClock } from '../support/clock.ts'

const deadlineMs = 100
const settings = {
  errorRatio: 0.5,
  leastCalls: 4,
  windowMs: 2_000,
  openForMs: 500,
  openForAtMostMs: 4_000,
  probes: 2,
  successes: 3,
  rampUpMs: 1_000,
}
const longestTightenMs = 5_000

type Step =
  | { readonly kind: 'call'; readonly outcome: 'answer' | 'fail' | 'hang'; readonly times: number }
  | { readonly kind: 'pass'; readonly ms: number }
  | { readonly kind: 'tighten'; readonly ms: number; readonly how: 'open' | 'limit' }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('call' as const),
      outcome: fc.constantFrom('answer' as const, 'fail' as const, 'hang' as const),
      times: fc.integer({ min: 1, max: 8 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('pass' as const),
      ms: fc.integer({ min: 0, max: 1_500 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('tighten' as const),
      ms: fc.integer({ min: -10, max: longestTightenMs }),
      how: fc.constantFrom('open' as const, 'limit' as const),
    }),
  },
)

interface Change {
  readonly state: BreakerState
  readonly reason: BreakerReason
  readonly atMs: number
}

class Run {
  readonly clock = new VirtualClock()
  readonly changes: Change[] = []
  readonly hop: Hop
  tightened = 0
  /** The state of the hop when each call was made that came through. */
  readonly made: BreakerState[] = []

  constructor(chance: number) {
    const { clock } = this
    this.hop = new Hop({
      name: 'any',
      deadlineMs,
      isAnswer: () => false,
      settings,
      clock,
      random: () => chance,
    })
    this.hop.onChange(({ state, reason }) => {
      this.changes.push({ state, reason, atMs: clock.monotonicMs() })
    })
  }

  async take(one: Step): Promise<void> {
    const { clock, hop } = this
    if (one.kind === 'call') for (let n = 0; n < one.times; n++) this.call(one.outcome)
    else if (one.kind === 'tighten') {
      this.tightened++
      hop.tighten(clock.monotonicMs() + one.ms, one.how)
    }
    await clock.advance(one.kind === 'pass' ? one.ms : 0)
  }

  call(outcome: 'answer' | 'fail' | 'hang'): void {
    const { state } = this.hop
    const settled = this.hop.run(async () => {
      this.made.push(state)
      if (outcome === 'hang') return new Promise<never>(() => {})
      if (outcome === 'fail') throw new Error('no')
    })
    settled.catch(() => {})
  }

  /** The service is well, and is asked again and again. */
  async wellFor(ms: number): Promise<void> {
    for (let past = 0; past < ms; past += 50) {
      this.call('answer')
      await this.clock.advance(50)
    }
  }

  /** Nothing is left of it when the last call has had its deadline. */
  async close(): Promise<void> {
    this.hop.close()
    await this.clock.advance(deadlineMs)
    expect(this.clock.timers).toBe(0)
  }
}

const runs = { numRuns: 300 }
const steps = fc.array(step, { maxLength: 60 })
const chance = fc.double({ min: 0, max: 1, noNaN: true })

test('a change is always to another state, and the state is as the last change said', async () => {
  await fc.assert(
    fc.asyncProperty(steps, chance, async (all, random) => {
      const run = new Run(random)
      for (const one of all) {
        await run.take(one)
        expect(run.hop.state).toBe(run.changes.at(-1)?.state ?? 'closed')
      }
      let before: BreakerState = 'closed'
      for (const { state } of run.changes) {
        expect(state).not.toBe(before)
        // Nobody is let in whole after an outage without having tried.
        if (before === 'open') expect(state).toBe('half-open')
        before = state
      }
      await run.close()
    }),
    runs,
  )
})

test('open it lets nothing through; a call that is made is made in another state', async () => {
  await fc.assert(
    fc.asyncProperty(steps, chance, async (all, random) => {
      const run = new Run(random)
      for (const one of all) await run.take(one)
      expect(run.made.filter((state) => state === 'open')).toEqual([])
      const { answered, failed } = run.hop.calls
      expect(answered + failed).toBeLessThanOrEqual(run.made.length)
      await run.close()
    }),
    runs,
  )
})

test('the number of openings is bounded by time and holds, whatever the calls come to', async () => {
  await fc.assert(
    fc.asyncProperty(steps, chance, async (all, random) => {
      const run = new Run(random)
      const beganAtMs = run.clock.monotonicMs()
      for (const one of all) await run.take(one)
      const pastMs = run.clock.monotonicMs() - beganAtMs
      const openings = run.changes.filter(({ state }) => state === 'open').length
      const shortestMs = settings.openForMs * 0.9
      expect(openings).toBeLessThanOrEqual(1 + Math.floor(pastMs / shortestMs) + run.tightened)
      await run.close()
    }),
    runs,
  )
})

test('it always comes back when the service is well, within the longest pause, hold and ramp', async () => {
  await fc.assert(
    fc.asyncProperty(steps, chance, async (all, random) => {
      const run = new Run(random)
      for (const one of all) await run.take(one)
      const longestMs = Math.max(settings.openForAtMostMs, longestTightenMs)
      await run.wellFor(deadlineMs + 2 * longestMs + 4 * settings.rampUpMs)
      expect(run.hop.state).toBe('closed')
      const { refused } = run.hop.calls
      await run.wellFor(1_000)
      expect([run.hop.state, run.hop.calls.refused]).toEqual(['closed', refused])
      await run.close()
    }),
    runs,
  )
})
