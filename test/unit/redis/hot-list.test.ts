import { expect, test } from 'vitest'
import type { HotKey } from '../../../src/model/bus-ports.ts'
import {
  formatHotList,
  isHotList,
  longestHotList,
  mostListedKeys,
  parseHotList,
} from '../../../src/redis/hot-list.ts'

const key = (id: string, readsPerSecond = 300, l1Share = 0.5): HotKey => ({
  entity: 'user:profile',
  id,
  readsPerSecond,
  l1Share,
})

test('a list comes out as it went in, whatever its ids are', () => {
  const list = { instance: 'one', keys: ['a', '"', 'ä💶', '{}', '\\', '42'].map((id) => key(id)) }
  const message = formatHotList(list)
  expect(isHotList(message)).toBe(true)
  expect(parseHotList(message)).toEqual(list)
})

test('what is too much for a message loses its coolest keys', () => {
  const many = Array.from({ length: mostListedKeys + 10 }, (_, n) => key(`id ${n}`, n))
  const told = parseHotList(formatHotList({ instance: 'one', keys: many }))
  expect(told?.keys.length).toBe(mostListedKeys)
  expect(told?.keys[0]?.id).toBe(`id ${mostListedKeys + 9}`)
  const long = Array.from({ length: 200 }, (_, n) => key(`${n}`.padEnd(512, 'x'), n))
  const message = formatHotList({ instance: 'one', keys: long })
  expect(message.length).toBeLessThanOrEqual(longestHotList)
  const { keys } = parseHotList(message) as { keys: readonly HotKey[] }
  expect(keys.length).toBeGreaterThan(20)
  expect(keys[0]?.readsPerSecond).toBe(199)
})

test.each([
  ['no JSON', '{"h":1,'],
  ['another version', '{"h":2,"n":"a","k":[]}'],
  ['no instance', '{"h":1,"k":[]}'],
  ['an instance without a name', '{"h":1,"n":"","k":[]}'],
  ['an instance that is too long', `{"h":1,"n":"${'a'.repeat(65)}","k":[]}`],
  ['no keys', '{"h":1,"n":"a","k":{}}'],
  ['too long', `{"h":1,"n":"a","k":["${'a'.repeat(longestHotList)}"]}`],
])('%s is no list', (_, message) => {
  expect(isHotList(message)).toBe(true)
  expect(parseHotList(message)).toBeUndefined()
})

test('of a list, what is no key is left out', () => {
  const rows = [
    ['city', 'a', 300, 0.5],
    ['city', '', 300, 0.5],
    ['city', 'a\0', 300, 0.5],
    ['city', 'a'.repeat(513), 300, 0.5],
    ['city', '\ud800', 300, 0.5],
    ['no name', 'a', 300, 0.5],
    ['city', 7, 300, 0.5],
    ['city', 'a', -1, 0.5],
    ['city', 'a', 1e12, 0.5],
    ['city', 'a', '300', 0.5],
    ['city', 'a', 300, 2],
    ['city', 'a', 300],
    ['city'],
    [],
    {},
    null,
    'city',
  ]
  const list = parseHotList(JSON.stringify({ h: 1, n: 'a', k: rows }))
  expect(list).toEqual({
    instance: 'a',
    keys: [{ entity: 'city', id: 'a', readsPerSecond: 300, l1Share: 0.5 }],
  })
})
