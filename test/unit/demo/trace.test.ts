import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readTrace } from '../../../src/demo/trace.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-trace-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

function file(name: string, bytes: Uint8Array): string {
  writeFileSync(join(folder, name), bytes)
  return join(folder, name)
}

test('reads little-endian keys in their order', () => {
  const bytes = Buffer.alloc(12)
  for (const [index, key] of [1, 2 ** 31, 2 ** 32 - 1].entries())
    bytes.writeUInt32LE(key, index * 4)
  expect([...readTrace(file('good.u32.gz', gzipSync(bytes)))]).toEqual([1, 2 ** 31, 2 ** 32 - 1])
})

test('says which file is no trace, and why', () => {
  const bad = [
    [file('text.gz', Buffer.from('no gzip')), 'incorrect header check'],
    [file('odd.gz', gzipSync(Buffer.alloc(7))), 'it has 7 bytes once unzipped'],
    [file('empty.gz', gzipSync(Buffer.alloc(0))), 'it has 0 bytes once unzipped'],
    [file('cut.gz', gzipSync(Buffer.alloc(400)).subarray(0, 12)), 'unexpected end of file'],
    [join(folder, 'absent.gz'), 'no such file'],
    [folder, 'EISDIR'],
  ] as const
  for (const [path, why] of bad) {
    const wanted = { code: 'OPTION_INVALID', message: expect.stringContaining(why) }
    expect(() => readTrace(path)).toThrow(expect.objectContaining(wanted))
    expect(() => readTrace(path)).toThrow(`option "--trace" is ${JSON.stringify(path)}`)
  }
})
