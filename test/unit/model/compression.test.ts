import { randomBytes } from 'node:crypto'
import { deflateRawSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { compress, decompress } from '../../../src/model/compression.ts'

const most = 1024 * 1024
const text = Buffer.from('what comes again and again, '.repeat(1_000))

/** As `compress` lays it out, with any length. */
function framed(length: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(4)
  head.writeUInt32BE(length)
  return Buffer.concat([head, deflateRawSync(payload)])
}

describe('compressed bytes', () => {
  test('are smaller, and come back as they were', () => {
    const bytes = compress(text) as Buffer
    expect(bytes.length).toBeLessThan(text.length / 50)
    expect(decompress(bytes, most)).toEqual(text)
  })

  test('are none where that would not save a tenth', () => {
    expect(compress(randomBytes(100_000))).toBeUndefined()
    for (const payload of ['', 'x', 'ten bytes.']) {
      expect(compress(Buffer.from(payload))).toBeUndefined()
    }
    const half = Buffer.concat([randomBytes(50_000), Buffer.alloc(50_000)])
    expect(decompress(compress(half) as Buffer, most)).toEqual(half)
    const tenth = Buffer.concat([randomBytes(95_000), Buffer.alloc(5_000)])
    expect(compress(tenth)).toBeUndefined()
  })

  test('are none of what is large and does not get smaller where it was tried', () => {
    const around = Buffer.alloc(200_000)
    randomBytes(10_000).copy(around, 96_000)
    expect(compress(around)).toBeUndefined()
    expect(compress(around.subarray(0, 100_000))).toBeDefined()
  })

  test('share no memory with what they were made of', () => {
    const payload = Buffer.from(text)
    const bytes = compress(payload) as Buffer
    payload.fill(0)
    expect(decompress(bytes, most)).toEqual(text)
  })
})

describe('what is no such thing is an error', () => {
  test('when it claims more bytes than there may be: none of them is made', () => {
    const bytes = compress(text) as Buffer
    expect(decompress(bytes, text.length)).toEqual(text)
    expect(() => decompress(bytes, text.length - 1)).toThrow('more than')
    expect(() => decompress(framed(0xffff_ffff, text), most)).toThrow('more than')
  })

  test('when it holds more than it claims, or less', () => {
    expect(decompress(framed(text.length, text), most)).toEqual(text)
    for (const length of [0, 1, 100, text.length - 1, text.length + 1, most]) {
      expect(() => decompress(framed(length, text), most)).toThrow()
    }
  })

  test('a small one that would become a gigabyte takes no more memory than it claims', () => {
    const bomb = framed(1_000, Buffer.alloc(64 * 1024 * 1024))
    const before = process.memoryUsage().arrayBuffers
    expect(() => decompress(bomb, most)).toThrow()
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(most)
  })

  test('when it ends too soon, or is anything else', () => {
    const bytes = compress(text) as Buffer
    for (const length of [0, 3, 4, 5, bytes.length - 1]) {
      expect(() => decompress(bytes.subarray(0, length), most)).toThrow()
    }
    expect(() => decompress(Buffer.from('\0\0\0\u0004text'), most)).toThrow()
  })
})
