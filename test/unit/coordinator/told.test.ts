import { expect, test } from 'vitest'
import { ToldRegions } from '../../../src/coordinator/told.ts'
import type { Region } from '../../../src/model/l1-port.ts'
import type { Xid } from '../../../src/model/snapshot.ts'
import { incarnationA } from '../../support/arbitrary.ts'

const write = { incarnation: incarnationA, xid: 7 as Xid }

test('a region is told of each id under the key that L1 has it under', () => {
  const heard: unknown[] = []
  const region = { told: (...args: unknown[]) => heard.push(args) } as unknown as Region
  const told = new ToldRegions(new Map([['city', region]]))
  told.tell('city', ['42', 'x', '042'], write)
  expect(heard).toEqual([
    [42, write],
    ['x', write],
    ['042', write],
  ])
})

test('an entity that this process does not have is nothing to it', () => {
  const told = new ToldRegions(new Map())
  expect(() => told.tell('country', ['FR'], write)).not.toThrow()
})

test('the copy of its Bloom filter gets each id as text', () => {
  const added: string[] = []
  const region = { told: () => {} } as unknown as Region
  const filter = { generation: 1, has: () => false, add: (id: string) => void added.push(id) }
  const told = new ToldRegions(
    new Map([
      ['city', region],
      ['country', region],
    ]),
    new Map([['city', filter]]),
  )
  told.tell('city', ['42', 'x'], write)
  told.tell('country', ['FR'], write)
  expect(added).toEqual(['42', 'x'])
})
