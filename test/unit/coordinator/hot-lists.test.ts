import { expect, test } from 'vitest'
import {
  HotLists,
  heardForMs,
  mostInstances,
  mostKeys,
} from '../../../src/coordinator/hot-lists.ts'
import type { HotKey } from '../../../src/model/bus-ports.ts'

const key = (id: string, readsPerSecond: number, l1Share = 1): HotKey => ({
  entity: 'city',
  id,
  readsPerSecond,
  l1Share,
})
const idsOf = (lists: HotLists, nowMs: number): unknown =>
  lists
    .merged(nowMs)
    .get('city')
    ?.map(({ id, readsPerSecond }) => [id, readsPerSecond])

test('what instances say is added up, the hottest first', () => {
  const lists = new HotLists()
  lists.add({ instance: 'one', keys: [key('a', 300), key('b', 400, 0.5)] }, 0)
  lists.add({ instance: 'two', keys: [key('a', 200, 0), { ...key('a', 1), entity: 'shop' }] }, 0)
  expect(lists.merged(0).get('city')).toEqual([
    { entity: 'city', id: 'a', readsPerSecond: 500, l1Share: 0.6, instances: ['one', 'two'] },
    { entity: 'city', id: 'b', readsPerSecond: 400, l1Share: 0.5, instances: ['one'] },
  ])
  expect(lists.merged(0).get('shop')?.length).toBe(1)
})

test('a list stands for the one before, and what is not said again is forgotten', () => {
  const lists = new HotLists()
  lists.add({ instance: 'one', keys: [key('a', 300)] }, 0)
  lists.add({ instance: 'two', keys: [key('a', 100)] }, 500)
  lists.add({ instance: 'one', keys: [key('b', 200)] }, 600)
  expect(idsOf(lists, 600)).toEqual([
    ['b', 200],
    ['a', 100],
  ])
  expect(idsOf(lists, 500 + heardForMs + 1)).toEqual([['b', 200]])
  lists.add({ instance: 'one', keys: [] }, 1_600)
  expect(lists.merged(1_600).size).toBe(0)
  expect(lists.count).toBe(0)
})

test('one that is named twice in a list counts once', () => {
  const lists = new HotLists()
  lists.add({ instance: 'one', keys: [key('a', 300), key('a', 300)] }, 0)
  expect(idsOf(lists, 0)).toEqual([['a', 300]])
})

test('of more instances than can be, the latest are remembered', () => {
  const lists = new HotLists()
  for (let n = 0; n <= mostInstances; n++) {
    lists.add({ instance: `instance ${n}`, keys: [key(String(n), 1)] }, n / 1_000)
  }
  expect(lists.count).toBe(mostInstances)
  const merged = lists.merged(1).get('city') ?? []
  expect(merged.some(({ id }) => id === '0')).toBe(false)
  expect(merged.some(({ id }) => id === String(mostInstances))).toBe(true)
})

test('of more keys than can be added up in time, those of the latest lists are remembered', () => {
  const lists = new HotLists()
  const listOf = (n: number): HotKey[] => Array.from({ length: 256 }, (_, k) => key(`${n} ${k}`, 1))
  for (let n = 0; n < mostInstances; n++) lists.add({ instance: `${n}`, keys: listOf(n) }, 0)
  const merged = lists.merged(0).get('city') ?? []
  expect(merged.length).toBe(mostKeys)
  expect(merged.some(({ id }) => id === `${mostInstances - 1} 0`)).toBe(true)
  for (let n = 0; n < mostInstances; n++) lists.add({ instance: `${n}`, keys: [] }, 0)
  lists.add({ instance: 'one', keys: listOf(0) }, 0)
  expect(lists.merged(0).get('city')?.length).toBe(256)
})
