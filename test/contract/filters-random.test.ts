/**
 * The twin in memory says and keeps what Redis does of filters, after every step of random sequences
 * of reads, invalidations, builds and faults. Generations are compared by the order in which they
 * appear.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeHeader, shapeFor } from '../../src/model/bloom.ts'
import type { Build, L2Filters } from '../../src/model/filter-ports.ts'
import { bitsIn, partOf, type Rig, start } from './filter-words.ts'
import { l2Rigs } from './l2-rigs.ts'
import { changes, put, restore, thing, upTo, write } from './words.ts'

const runs = 60
const mostMs = 60_000

type Who = 'one' | 'two'
type Step =
  | { readonly act: 'ask' | 'tell' | 'merge'; readonly who: Who; readonly ids: readonly string[] }
  | { readonly act: 'begin'; readonly who: Who; readonly expected: number }
  | { readonly act: 'renew'; readonly who: Who; readonly leaseMs: number }
  | { readonly act: 'start' | 'finish' | 'abandon' | 'request' | 'missing'; readonly who: Who }
  | { readonly act: 'put'; readonly ids: readonly string[] }
  | { readonly act: 'prove' | 'outlive' | 'forget the barrier' | 'evict the build' }
  | { readonly act: 'evict' | 'damage'; readonly slot: 0 | 1 }

const who = fc.constantFrom<Who>('one', 'two')
const slot = fc.constantFrom(0 as const, 1 as const)
const every = Array.from({ length: 20 }, (_, id) => `id ${id}`)
const ids = fc.array(fc.constantFrom(...every), { minLength: 1, maxLength: 4 })
const act = <A extends Step['act']>(...acts: A[]) => fc.constantFrom(...acts)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ act: act('ask', 'tell', 'merge'), who, ids }) },
  {
    weight: 3,
    arbitrary: fc.record({ act: act('begin'), who, expected: fc.constantFrom(70, 75, 900) }),
  },
  { weight: 1, arbitrary: fc.record({ act: act('renew'), who, leaseMs: fc.constantFrom(0, 9e5) }) },
  { weight: 8, arbitrary: fc.record({ act: act('start', 'finish', 'missing'), who }) },
  { weight: 1, arbitrary: fc.record({ act: act('abandon', 'request'), who }) },
  {
    weight: 1,
    arbitrary: fc.record({ act: act('put'), ids: ids.map((some) => some.slice(0, 1)) }),
  },
  { weight: 2, arbitrary: fc.record({ act: act('prove') }) },
  {
    weight: 1,
    arbitrary: fc.record({ act: act('outlive', 'forget the barrier', 'evict the build') }),
  },
  { weight: 1, arbitrary: fc.record({ act: act('evict', 'damage'), slot }) },
)

/** What seldom comes about by chance: one that answers beside a barrier. */
const whole: fc.Arbitrary<readonly Step[]> = fc
  .record({ who, ids })
  .map(({ who, ids }) => [
    { act: 'abandon', who },
    { act: 'begin', who, expected: 70 },
    { act: 'start', who },
    { act: 'merge', who, ids: ids.slice(0, 1) },
    { act: 'finish', who },
    { act: 'prove' },
    { act: 'ask', who, ids },
  ])
const sequences: fc.Arbitrary<readonly Step[]> = fc
  .array(
    fc.oneof({ weight: 12, arbitrary: step.map((one) => [one]) }, { weight: 1, arbitrary: whole }),
    { minLength: 5, maxLength: 40, size: 'max' },
  )
  .map((all) => all.flat())

/** One of the two places, with what its builders have in hand. */
class Side {
  readonly #rig: Rig
  readonly #builds = new Map<Who, Build>()
  readonly #generations = new Map<number, number>()
  readonly kinds: string[] = []
  #xid = 100

  constructor(rig: Rig) {
    this.#rig = rig
  }

  /** Nothing is left of the last sequence. */
  async begin(): Promise<void> {
    const { rewrite, evictBuild, putBitmap, evict } = this.#rig
    await rewrite(() => undefined)
    await evictBuild()
    for (const slot of [0, 1] as const) await putBitmap(slot, undefined)
    for (const id of every) await Promise.all([evict('value', id), evict('fence', id)])
  }

  async step(one: Step): Promise<unknown> {
    const answer = await this.#do(one)
    return { answer, status: await this.#status(), bitmaps: await this.#bitmaps() }
  }

  async #do(one: Step): Promise<unknown> {
    const rig = this.#rig
    switch (one.act) {
      case 'ask': {
        const asked = one.ids.map((_, nth) => nth !== 1)
        const lookups = await rig[one.who].lookup(thing(), one.ids, asked)
        return lookups.map((lookup) => {
          this.kinds.push(lookup.kind)
          if (lookup.kind !== 'refused') return lookup.kind
          const { barrier, generation } = lookup.refusal
          return [barrier, this.#nameOf(generation)]
        })
      }
      case 'tell': {
        const drops = one.ids.map((id) => ({ entity: 'thing', id, versions: [1] }))
        return (await rig[one.who].invalidate(write(this.#xid), drops)).kind
      }
      case 'put':
        return put(rig.one, one.ids[0] as string, upTo(1_000))
      case 'prove': {
        const barrier = upTo(++this.#xid)
        const answers = await rig.one.barrier(barrier)
        if (answers.every(({ kind }) => kind === 'written')) return 'written'
        return restore(rig.one, await changes(rig.one, barrier), barrier)
      }
      case 'outlive':
        return void (await rig.rewrite((record) => ({ ...record, generation: upTo(500) })))
      case 'forget the barrier':
        return void (await rig.rewrite(() => undefined))
      case 'evict the build':
        return void (await rig.evictBuild())
      case 'evict':
        return void (await rig.putBitmap(one.slot, undefined))
      case 'damage': {
        const bytes = await rig.bitmap(one.slot)
        if (bytes) await rig.putBitmap(one.slot, bytes.subarray(0, -1))
        return
      }
      default:
        return this.#build(one, rig.filters[one.who])
    }
  }

  async #build(one: Extract<Step, { who: Who }>, filters: L2Filters): Promise<unknown> {
    if (one.act === 'request') return filters.request('thing')
    if (one.act === 'begin') {
      const { expected } = one
      const answer = await filters.begin('thing', shapeFor(expected, 1e-9), expected, 9e5)
      this.kinds.push(answer.kind)
      if (answer.kind !== 'declared' && answer.kind !== 'resumed') return answer.kind
      this.#builds.set(one.who, answer.build)
      const { owner: _, generation, ...build } = answer.build
      return { ...answer, build: { ...build, generation: this.#nameOf(generation) } }
    }
    const build = this.#builds.get(one.who)
    if (!build) return 'nothing is built'
    switch (one.act) {
      case 'start':
        return filters.started(build, start)
      case 'renew':
        return filters.renew(build, one.leaseMs)
      case 'merge': {
        const progress = { cursor: one.ids[0], scanned: one.ids.length, expected: 1 }
        return filters.merge(build, partOf(filters, build, one.ids), progress)
      }
      case 'finish': {
        const answer = await filters.finish(build)
        this.kinds.push(`finished: ${answer.kind}`)
        return answer
      }
      case 'abandon':
        return filters.abandon(build)
      default:
        return filters.missing('thing', build.generation, ['id 0', 'id 1', 'none'])
    }
  }

  async #status(): Promise<unknown> {
    const status = await this.#rig.filters.one.status('thing')
    if (status.kind === 'unavailable') throw status.cause
    const { current, building, ...rest } = status
    const plain = (header: typeof current) =>
      header && {
        ...header,
        ...{ generation: this.#nameOf(header.generation), seed: 0, identity: '', declaredAtMs: 0 },
        setBits: 0,
      }
    return { ...rest, current: plain(current), building: plain(building) }
  }

  /** Each has a seed of its own, and so other bits of the same ids: whether they are counted is compared. */
  async #bitmaps(): Promise<unknown> {
    const both = await Promise.all([this.#rig.bitmap(0), this.#rig.bitmap(1)])
    return both.map((bytes) => bytes && [bytes.length, bitsOf(bytes)])
  }

  #nameOf(generation: number): number {
    const known = this.#generations.get(generation) ?? this.#generations.size
    this.#generations.set(generation, known)
    return known
  }
}

function bitsOf(bytes: Buffer): unknown {
  const header = decodeHeader(bytes, bytes.length)
  if (!header) return undefined
  const isCounted = header.setBits === bitsIn(bytes)
  return [header.isReady, header.places, bytes.length, header.isReady ? isCounted : 'counted later']
}

test(
  'the twin answers and keeps what Redis does, whatever is built and befalls it',
  async () => {
    const happened = new Set<string>()
    const [, openReal] = l2Rigs[0] as (typeof l2Rigs)[number]
    const [, openTwin] = l2Rigs[2] as (typeof l2Rigs)[number]
    const rigs = [await openReal(), await openTwin()] as const
    await fc.assert(
      fc.asyncProperty(sequences, async (all) => {
        const sides = [new Side(rigs[0]), new Side(rigs[1])] as const
        for (const side of sides) await side.begin()
        for (const [index, one] of all.entries()) {
          const [onReal, onTwin] = await Promise.all(sides.map((side) => side.step(one)))
          expect(onTwin, `after step ${index + 1}, ${JSON.stringify(one)}`).toEqual(onReal)
        }
        for (const kind of sides[0].kinds) happened.add(kind)
      }),
      { numRuns: runs, interruptAfterTimeLimit: mostMs - 15_000, markInterruptAsFailure: true },
    )
    expect([...happened]).toEqual(
      expect.arrayContaining([
        ...['declared', 'resumed', 'held', 'finished: done', 'finished: lost'],
        ...['refused', 'miss', 'fresh'],
      ]),
    )
  },
  mostMs,
)
