import { expect, test } from 'vitest'
import { electedFor } from '../../../src/coordinator/rendezvous.ts'

const instances = Array.from({ length: 8 }, (_, n) => `instance ${n}`)
const things = Array.from({ length: 2_000 }, (_, n) => `city\n${n}`)

test('all name the same one, whatever order they know the instances in', () => {
  for (const thing of things) {
    expect(electedFor(thing, instances.toReversed())).toBe(electedFor(thing, instances))
  }
})

test('each has about its share', () => {
  const shares = new Map<string | undefined, number>()
  for (const thing of things) {
    const elected = electedFor(thing, instances)
    shares.set(elected, (shares.get(elected) ?? 0) + 1)
  }
  expect(shares.size).toBe(instances.length)
  for (const share of shares.values()) {
    expect(share).toBeGreaterThan(150)
    expect(share).toBeLessThan(350)
  }
})

test('who leaves moves nothing but its own', () => {
  const left = instances.slice(1)
  for (const thing of things) {
    const before = electedFor(thing, instances)
    if (before !== instances[0]) expect(electedFor(thing, left)).toBe(before)
  }
})

test('nobody is elected of nobody', () => {
  expect(electedFor('city\n1', [])).toBeUndefined()
})
