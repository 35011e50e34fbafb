/**
 * The twin in memory is what the simulator and the tests of users stand on: after every step of
 * random sequences of calls and faults it has answered as the real Redis has, and the same lies
 * there. Names that each chooses for itself (nonces, owners, identities) are compared by the order
 * in which they appear; times to half a unit of time, which is longer than any machine stops for.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Sequence, textOf } from './l2-commands.ts'
import { memoryPlace, redisPlace } from './l2-places.ts'
import { sequences } from './l2-sequences.ts'
import { Side } from './l2-side.ts'

/** A few seconds' worth; a search for more takes thousands. */
const runs = 80
const mostMs = 60_000

/** What so many sequences don't do without; else they would compare little. */
const certain = [
  ...['fresh', 'absent', 'value', 'lease', 'wait', 'merged', 'held', 'lost', 'dropped', 'outlived'],
  ...['filled', 'nonce-changed', 'tombstone', 'not-covered', 'written', 'changed'],
]

test(
  'the twin answers and remembers as Redis does, whatever is asked of them and befalls them',
  async () => {
    const real = await redisPlace()
    const twin = memoryPlace()
    const happened = new Set<string>()
    let started = 0
    await fc.assert(
      fc.asyncProperty(sequences, async ({ base, commands }: Sequence) => {
        const run = ++started
        const sides = [new Side(real, base, run), new Side(twin, base, run)] as const
        try {
          for (const side of sides) await side.begin()
          for (const [index, command] of commands.entries()) {
            const [onReal, onTwin] = await Promise.all(sides.map((side) => side.step(command)))
            const what = `after command ${index + 1}, ${textOf(command)}, the twin`
            expect(onTwin, what).toEqual(onReal)
            for (const kind of onReal?.kinds ?? []) happened.add(kind)
          }
        } finally {
          for (const side of sides) side.end()
        }
      }),
      // What was found until then is told, rather than that the test took too long.
      { numRuns: runs, interruptAfterTimeLimit: mostMs - 15_000, markInterruptAsFailure: true },
    )
    expect([...happened]).toEqual(expect.arrayContaining(certain))
  },
  mostMs,
)
