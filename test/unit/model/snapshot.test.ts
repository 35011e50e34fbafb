import { expect, test } from 'vitest'
import {
  covers,
  doubts,
  parseIncarnation,
  parseSnapshot,
  parseXid,
  visible,
  type Xid,
} from '../../../src/model/snapshot.ts'
import { incarnationA, snapshot } from '../../support/arbitrary.ts'

const write = (xid: number) => ({ incarnation: incarnationA, xid: xid as Xid })

test('the snapshot of the manual is read as the manual says', () => {
  const read = parseSnapshot('10:20:10,14,15', incarnationA)
  expect(read).toEqual({ incarnation: incarnationA, xmin: 10, xmax: 20, xip: [10, 14, 15] })
  expect([9, 10, 11, 14, 15, 16, 19, 20].filter((xid) => visible(write(xid), read))).toEqual([
    9, 11, 16, 19,
  ])
})

test('of a standby only what is below xmin is seen', () => {
  const standby = parseSnapshot('742:742:', incarnationA)
  expect(visible(write(741), standby)).toBe(true)
  expect(visible(write(742), standby)).toBe(false)
})

test('an open xid at xmax that xip does not list is not seen', () => {
  expect(visible(write(61630), snapshot('61630:61630:'))).toBe(false)
})

test('a write-through value sees the write that made it, and nothing else that was open', () => {
  const own = snapshot('10:20:12,13', incarnationA, 13)
  expect(visible(write(13), own)).toBe(true)
  expect(visible(write(12), own)).toBe(false)
  expect(covers(own, snapshot('10:20:12,13'))).toBe(true)
  expect(covers(snapshot('10:20:12,13'), own)).toBe(false)
})

test.each(['1:2', '', 'x:2:', '1:y:', '1:2:z', '1:-2:', '1.5:2:', `${2 ** 53}:${2 ** 53}:`])(
  'the text %j is no snapshot',
  (text) => {
    expect(() => parseSnapshot(text, incarnationA)).toThrow(RangeError)
  },
)

const accepted = (texts: readonly string[], parse: (text: string) => unknown): readonly string[] =>
  texts.filter((text) => {
    try {
      parse(text)
      return true
    } catch {
      return false
    }
  })

test('an xid is digits and nothing else, as PostgreSQL prints it', () => {
  const texts = ['', ' ', ' 7', '7 ', '0x10', '1e3', '+7', '7.0', '-0', '٧']
  expect(accepted(texts, parseXid)).toEqual([])
})

test('a snapshot has three parts, and a list without holes', () => {
  const texts = ['1:2:3:4', '1:2:3,', '::', '1:2:,']
  expect(accepted(texts, (text) => parseSnapshot(text, incarnationA))).toEqual([])
})

test.each(['', 'a1b2c3d4e5f6071', 'a1b2c3d4e5f607180', 'A1B2C3D4E5F60718', 'g1b2c3d4e5f60718'])(
  'the text %j is no incarnation',
  (text) => {
    expect(() => parseIncarnation(text)).toThrow(RangeError)
  },
)

test.each<[standby: string, floor: string, doubts: number[] | undefined]>([
  ['10:10:', '10:10:', []],
  ['12:15:', '10:12:', []],
  // 10 is not seen by the primary either.
  ['10:10:', '10:11:10', []],
  ['10:13:', '10:13:10', [11, 12]],
  ['10:13:', '13:13:', [10, 11, 12]],
  // 12 has not come there at all.
  ['10:12:', '13:13:', undefined],
  ['10:12:', '10:13:12', [10, 11]],
  ['10:12:', '10:13:10,12', [11]],
  ['10:2000:', '1999:1999:', undefined],
])('a standby that shows %s covers %s once these have ended: %j', (standby, floor, wanted) => {
  expect(doubts(snapshot(standby), snapshot(floor))).toEqual(wanted)
})

test('whoever asks a standby about no end of transactions is told at once that it is behind', () => {
  expect(doubts(snapshot('10:4000000000000:'), snapshot('10:4000000000000:'))).toBeUndefined()
})
