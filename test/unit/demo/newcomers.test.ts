import { expect, test } from 'vitest'
import type { Operation } from '../../../src/demo/history.ts'
import { Newcomers, type NewcomersOptions } from '../../../src/demo/newcomers.ts'

interface Answers {
  readonly fenced?: boolean
  readonly exists?: boolean
  readonly write?: () => Promise<void>
  readonly draw?: number
  readonly isAlone?: boolean
}

async function worked({
  fenced = true,
  exists = true,
  write = async () => {},
  draw = 0,
  isAlone = false,
}: Answers = {}) {
  const inserted: number[] = []
  const handed: number[] = []
  const news: string[] = []
  const operations: Operation[] = []
  const city = {
    write: async (id: number) => {
      await write()
      inserted.push(id)
      return { fenced, ticket: '', value: [] }
    },
    getEntry: async () => ({
      value: exists ? { version: 1 } : undefined,
      tier: 'l2',
      proven: true,
    }),
  }
  const startMs = performance.now()
  const newcomers = new Newcomers({
    cache: { city } as unknown as NewcomersOptions['cache'],
    history: { add: (operation) => operations.push(operation) },
    random: () => draw,
    nowNs: () => (performance.now() - startMs) * 1e6,
    run: 'demo 1',
    handOver: isAlone ? undefined : (id) => handed.push(id),
    room: () => undefined,
    tell: (one) => news.push(one),
  })
  newcomers.take(1_000_000_000)
  await newcomers.run(0.4, new AbortController().signal)
  const read = operations.flatMap((one) => (one.kind === 'read' ? [one.id] : []))
  return { newcomers, inserted, handed, read, news, operations }
}

test('each new row is looked for once: here at once, by another process, or later', async () => {
  const atOnce = await worked({ draw: 0.1 })
  expect(atOnce.inserted.length).toBeGreaterThan(0)
  expect(atOnce.read.toSorted()).toEqual([1_000_000_000, ...atOnce.inserted].toSorted())
  expect(atOnce.newcomers).toMatchObject({ absent: 0, found: atOnce.read.length })

  const elsewhere = await worked({ draw: 0.5 })
  expect(elsewhere.handed).toEqual(elsewhere.inserted)
  expect(elsewhere.read).toEqual([1_000_000_000])

  for (const later of [await worked({ draw: 0.9 }), await worked({ draw: 0.5, isAlone: true })]) {
    expect(later.inserted.length).toBeGreaterThan(0)
    expect(later.read).toEqual([1_000_000_000, ...later.inserted])
  }
})

test('one that is said not to exist is a wrong answer, and the judge is told so', async () => {
  const { newcomers, news, operations, read } = await worked({ exists: false })
  expect(newcomers).toMatchObject({ absent: read.length, found: 0 })
  expect(news[0]).toContain('was said not to exist (by l2)')
  const versions = operations.map(({ kind, version }) => `${kind} ${version}`)
  expect(new Set(versions)).toEqual(new Set(['read 0', 'write 1']))
})

test('of one that Redis was not told of in time nothing is expected yet', async () => {
  const { inserted, read, operations } = await worked({ fenced: false })
  expect(inserted.length).toBeGreaterThan(0)
  expect(read).toEqual([1_000_000_000])
  expect(operations.filter(({ kind }) => kind === 'write')).toHaveLength(inserted.length)
})

test('what fails is counted, with the first reason, and does not end it', async () => {
  const { newcomers } = await worked({ write: () => Promise.reject(new Error('gone')) })
  expect(newcomers.failedWrites).toBeGreaterThan(1)
  expect(newcomers).toMatchObject({ firstFailure: 'gone', failedReads: 0, found: 1 })
})
