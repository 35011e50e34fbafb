/** S3-FIFO over slots that are given out again and again, against the paper's algorithm over plain lists. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { S3Fifo } from '../../src/memory/policies/s3fifo.ts'
import type { Slot } from '../../src/model/l1-port.ts'

interface Act {
  readonly act: 'admit' | 'hit' | 'remove' | 'evict' | 'clear'
  readonly hash: number
  /** Which of the entries in it is meant. */
  readonly which: number
}

const acts = (hash: fc.Arbitrary<number>): fc.Arbitrary<Act[]> =>
  fc.array(
    fc.record({
      act: fc.oneof(
        { weight: 60, arbitrary: fc.constant('admit' as const) },
        { weight: 60, arbitrary: fc.constant('hit' as const) },
        { weight: 20, arbitrary: fc.constant('remove' as const) },
        { weight: 40, arbitrary: fc.constant('evict' as const) },
        { weight: 1, arbitrary: fc.constant('clear' as const) },
      ),
      hash,
      which: fc.nat(),
    }),
    { maxLength: 200, size: 'max' },
  )
const capacity = fc.constantFrom(1, 2, 3, 10, 1_000)
/** The ghost has a place of its own for each of these. */
const hashesApart = fc.nat(15)
const anyHash = fc.oneof(fc.nat(20), fc.constantFrom(0, 16, 32, 2 ** 30, 2 ** 31 - 1))

interface Held {
  readonly slot: Slot
  readonly hash: number
}

/** Gives out slots as a region does: the one that was released last comes first. */
class Slots {
  readonly policy: S3Fifo
  readonly held: Held[] = []
  readonly #released: Slot[] = []
  readonly #hashes: number[] = []
  #capacity = 0

  constructor(capacity: number) {
    this.policy = new S3Fifo(capacity)
  }

  admit(hash: number): Held {
    const slot = this.#released.pop() ?? (this.held.length as Slot)
    if (slot >= this.#capacity) {
      this.#capacity = Math.max(1, this.#capacity * 2)
      this.policy.grow(this.#capacity)
    }
    this.#hashes[slot] = hash
    this.policy.admit(slot, hash)
    const held = { slot, hash }
    this.held.push(held)
    return held
  }

  /** Of the entry that went; throws when the policy names one that isn't there. */
  evict(): Held | undefined {
    const slot = this.policy.evict((one) => this.#hashes[one] as number)
    if (slot === undefined) return undefined
    const held = this.held.find((one) => one.slot === slot)
    if (!held) throw new Error(`slot ${slot} is empty`)
    this.#release(held)
    return held
  }

  remove(held: Held): void {
    this.policy.remove(held.slot)
    this.#release(held)
  }

  clear(): void {
    this.policy.clear()
    this.held.length = 0
    this.#released.length = 0
  }

  #release(held: Held): void {
    this.held.splice(this.held.indexOf(held), 1)
    this.#released.push(held.slot)
  }
}

test('the order never loses an entry and never gives one out twice', () => {
  fc.assert(
    fc.property(capacity, acts(anyHash), (size, sequence) => {
      const slots = new Slots(size)
      for (const { act, hash, which } of sequence) {
        const { held } = slots
        const chosen = held[which % Math.max(1, held.length)]
        if (act === 'admit') slots.admit(hash)
        else if (act === 'evict') {
          const isEmpty = held.length === 0
          expect(slots.evict() === undefined).toBe(isEmpty)
        } else if (act === 'clear') slots.clear()
        else if (chosen && act === 'hit') slots.policy.hit(chosen.slot)
        else if (chosen) slots.remove(chosen)
      }
      while (slots.held.length > 0) expect(slots.evict()).toBeDefined()
      expect(slots.evict()).toBeUndefined()
    }),
    { numRuns: 200 },
  )
})

/** Algorithm 1 of the paper, with lists in place of queues: oldest first. */
class Plain {
  readonly #capacity: number
  readonly #frequencies = new Map<Held, number>()
  #small: Held[] = []
  #main: Held[] = []
  #ghosts: number[] = []

  constructor(capacity: number) {
    this.#capacity = capacity
  }

  admit(held: Held): void {
    this.#frequencies.set(held, 0)
    const place = this.#ghosts.lastIndexOf(held.hash)
    const isGhost = place >= 0 && this.#ghosts.length - place <= this.#capacity
    if (place >= 0) this.#ghosts = this.#ghosts.map((one) => (one === held.hash ? -1 : one))
    if (isGhost) this.#main.push(held)
    else this.#small.push(held)
  }

  hit(held: Held): void {
    this.#frequencies.set(held, Math.min(3, this.#frequency(held) + 1))
  }

  remove(held: Held): void {
    this.#small = this.#small.filter((one) => one !== held)
    this.#main = this.#main.filter((one) => one !== held)
  }

  evict(): Held | undefined {
    const total = this.#small.length + this.#main.length
    if (this.#small.length > total / 10 || this.#main.length === 0) {
      for (let one = this.#small.shift(); one; one = this.#small.shift()) {
        if (this.#frequency(one) <= 1) {
          this.#ghosts.push(one.hash)
          return one
        }
        this.#frequencies.set(one, 0)
        this.#main.push(one)
      }
    }
    for (let one = this.#main.shift(); one; one = this.#main.shift()) {
      if (this.#frequency(one) === 0) return one
      this.#frequencies.set(one, this.#frequency(one) - 1)
      this.#main.push(one)
    }
    return undefined
  }

  clear(): void {
    this.#small = []
    this.#main = []
    this.#ghosts = []
  }

  #frequency(held: Held): number {
    return this.#frequencies.get(held) as number
  }
}

test('who goes is who the plain algorithm lets go, however often the slots were given out before', () => {
  fc.assert(
    fc.property(capacity, acts(hashesApart), (size, sequence) => {
      const slots = new Slots(size)
      const plain = new Plain(size)
      for (const { act, hash, which } of sequence) {
        const { held } = slots
        const chosen = held[which % Math.max(1, held.length)]
        if (act === 'admit') plain.admit(slots.admit(hash))
        else if (act === 'evict') expect(slots.evict()).toBe(plain.evict())
        else if (act === 'clear') {
          slots.clear()
          plain.clear()
        } else if (chosen && act === 'hit') {
          slots.policy.hit(chosen.slot)
          plain.hit(chosen)
        } else if (chosen) {
          slots.remove(chosen)
          plain.remove(chosen)
        }
      }
      while (slots.held.length > 0) expect(slots.evict()).toBe(plain.evict())
    }),
    { numRuns: 300 },
  )
})
