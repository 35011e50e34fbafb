/** Flags that flicker at random, on each process by itself: whatever is switched off, no promise breaks. */
import { expect, test } from 'vitest'
import type { FlagMirror, FlagStore } from '../../src/model/flag-ports.ts'
import type { FlagName, KeptFlag } from '../../src/model/flags.ts'
import type { L2 } from '../../src/model/l2-port.ts'
import { over } from '../support/over.ts'
import { type Mutation, original, type Place } from './mutation.ts'
import { runSchedule } from './run.ts'
import { drawSchedule } from './schedule.ts'

const flickering: readonly FlagName[] = [
  'l1.bypass',
  'l2.bypass',
  'fill.off',
  'refresh.off',
  'serve.stale',
  'misses.shed',
]
const flickerMs = 80
const schedules = 40

/** What one process is told that is set: something else each time. */
class Flicker {
  set: readonly FlagName[] = []
  readonly #next: () => number
  #revision = 0

  /** Since it was last told to look; when it doesn't any more it is closed, or dead. */
  #unheard = 0

  constructor({ world }: Place, name: string) {
    this.#next = world.chance.of(name).next
  }

  readonly store: Pick<FlagStore, 'read' | 'report'> = {
    read: async () => {
      this.#unheard = 0
      this.set = flickering.filter(() => this.#next() < 0.3)
      const flags = this.set.map((flag): KeptFlag => {
        const words = { reason: 'chance', author: 'chance', by: 'operator' } as const
        return { changeId: 1, flag, ...words, setAtMs: 0, untilMs: 0, leftMs: 60_000 }
      })
      return { revision: ++this.#revision, flags }
    },
    report: async () => {},
  }

  mirror({ line }: Place): Pick<FlagMirror, 'listen' | 'keep'> {
    return {
      keep: async () => {},
      listen: (look) => {
        const again = (): void => {
          if (this.#unheard++ > 3) return
          look()
          line.clock.after(flickerMs, again)
        }
        line.clock.after(flickerMs, again)
      },
    }
  }
}

let flickers = 0

function withFlicker(spoil: (l2: L2, flicker: Flicker) => L2 = (l2) => l2): Mutation {
  return {
    ...original,
    arrived: (parts, place) => {
      const flicker = new Flicker(place, `flags ${flickers++ % 8}`)
      return {
        ...parts,
        l2: parts.l2 && spoil(parts.l2, flicker),
        flags: {
          store: flicker.store as FlagStore,
          mirror: flicker.mirror(place) as FlagMirror,
        },
      }
    },
  }
}

/** The invariants that break, and how much was written. */
async function brokenBy(mutation: Mutation, isEnough: (broken: number) => boolean) {
  const broken: string[] = []
  let writes = 0
  for (let seed = 1; seed <= schedules && !isEnough(broken.length); seed++) {
    const outcome = await runSchedule(drawSchedule(seed), mutation)
    writes += outcome.writes
    // What these flags cost (docs/flags.md): without Redis each process loads for itself, and who is
    // shed is told so.
    const bad = outcome.violations.filter(
      ({ invariant, text }) => invariant !== 'I5' && !text.includes('flag "misses.shed" is set'),
    )
    broken.push(...bad.map(({ invariant }) => `seed ${seed}: ${invariant}`))
  }
  return { broken, writes }
}

test('no promise breaks while flags are set and unset', async () => {
  const { broken, writes } = await brokenBy(withFlicker(), () => false)
  expect(broken).toEqual([])
  expect(writes).toBeGreaterThan(1_000)
})

test('it would be seen if l2.bypass kept invalidations from Redis, too', async () => {
  const spoiled = withFlicker((l2, flicker) =>
    over<L2>(l2, {
      invalidate: async (...args) => {
        if (!flicker.set.includes('l2.bypass')) return l2.invalidate(...args)
        const nonces = args[1].map(() => 'no nonce' as never)
        return { kind: 'dropped', nonces, values: 0 }
      },
    }),
  )
  const { broken } = await brokenBy(spoiled, (found) => found > 0)
  expect(broken).not.toEqual([])
})
