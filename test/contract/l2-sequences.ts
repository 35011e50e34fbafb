/** Random sequences of commands to an L2. */
import fc from 'fast-check'
import {
  type Command,
  type DropOf,
  owners,
  type SeenUpTo,
  type Sequence,
  type Spot,
  spots,
  textOf,
  versions,
} from './l2-commands.ts'

/** A small one, one that is no 32-bit number, and almost the largest that a double counts up to. */
const bases = [100, 2 ** 32 - 15, Number.MAX_SAFE_INTEGER - 400]
/** More than a fence lists. */
const mostWrites = 36
const mostSteps = 50

// ---------------------------------------------------------------- words

const mostly = <T>(usual: fc.Arbitrary<T>, other: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  fc.oneof({ weight: 4, arbitrary: usual }, { weight: 1, arbitrary: other })

const owner = fc.nat(owners - 1)
const version = mostly(fc.constant(1), fc.constantFrom(...versions))
const isRare = mostly(fc.constant(false), fc.constant(true))
const ago = mostly(fc.constant(0), fc.nat(4))
/** What ends in time ends between the whole units, and only those pass. */
const halves = fc.constantFrom(2.5, 1.5, 0.5)
const wholes = fc.constantFrom(2, 1, 0)

const spot = mostly(fc.constant(spots[0] as Spot), fc.constantFrom(...spots))
/** Of one entity, as the port has it; one may be named twice. */
const someOfOne = mostly(
  fc.array(fc.constantFrom(...spots.slice(0, 2)), { minLength: 1, maxLength: 3 }),
  fc.constant(spots.slice(2)),
)

const xid = fc.nat(14)
/** Where most of what it sees ends: among the writes, or after all of them. */
const horizon = mostly(xid, fc.constantFrom(20, 60))
const snapshot: fc.Arbitrary<SeenUpTo> = fc
  .record({
    isFormer: isRare,
    xmin: horizon,
    length: fc.oneof(fc.constant(0), fc.nat(12)),
    inProgress: fc.uniqueArray(fc.nat(11), { maxLength: 4 }),
  })
  .map(({ isFormer, xmin, length, inProgress }) => {
    const xip = inProgress.filter((ahead) => ahead < length).sort((a, b) => a - b)
    return { isFormer, xmin, xmax: xmin + length, xip: xip.map((ahead) => xmin + ahead) }
  })

const loaded = {
  ago,
  snapshot,
  payload: fc.constantFrom(
    'a value' as const,
    'no bytes' as const,
    'nothing' as const,
    'compressed bytes' as const,
    'the verdict too big' as const,
  ),
  ttl: halves,
  grace: wholes,
  age: mostly(fc.constant(0), fc.constantFrom(1, 2)),
  over: mostly(
    fc.constant('nothing' as const),
    fc.constantFrom('the former' as const, 'both' as const),
  ),
}

const drop = (of: fc.Arbitrary<Spot>): fc.Arbitrary<DropOf> =>
  fc.record({
    spot: of,
    versions: mostly(fc.constant(versions), fc.subarray([...versions])),
    through: fc.option(fc.record({ ...loaded, version, ownsWrite: fc.boolean() }), {
      nil: undefined,
      freq: 2,
    }),
  })

// ---------------------------------------------------------------- commands

type Act = Command['act']
type Of<A extends Act> = Extract<Command, { readonly act: A }>

function command<A extends Act>(
  act: A,
  parts: { [K in keyof Omit<Of<A>, 'act'>]: fc.Arbitrary<Omit<Of<A>, 'act'>[K]> },
): fc.Arbitrary<Command> {
  return fc.record(parts).map((values) => {
    const one = { act, ...values } as unknown as Command
    return Object.assign(one, { [fc.toStringMethod]: () => `\n  ${textOf(one)}` })
  })
}

const lookup = command('lookup', { owner, version, grace: wholes, spots: someOfOne })
const barrier = command('barrier', { owner, snapshot })
const renew = command('renew', { owner, spot, ago, lease: halves })
const generation = fc.option(snapshot, { nil: undefined, freq: 3 })
const restore = command('restore', { owner, ago, snapshot, generation })
const save = command('save', {})

/** Of which only some is said; the rest is by chance. */
interface Given {
  readonly owner?: number
  readonly version?: number
  readonly insist?: boolean
}

const or = <T>(given: T | undefined, chance: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  given === undefined ? chance : fc.constant(given)

const acquire = (some: readonly Spot[], given: Given = {}): fc.Arbitrary<Command> =>
  command('acquire', {
    owner: or(given.owner, owner),
    version: or(given.version, version),
    spots: fc.constant(some),
    isFormer: isRare,
    lease: halves,
    insist: or(given.insist, fc.boolean()),
  })

const fill = (some: readonly Spot[], given: Given = {}): fc.Arbitrary<Command> =>
  command('fill', {
    owner: or(given.owner, owner),
    version: or(given.version, version),
    fills: fc.tuple(...some.map((one) => fc.record({ spot: fc.constant(one), ...loaded }))),
  })

const release = (some: readonly Spot[], given: Given = {}): fc.Arbitrary<Command> =>
  command('release', {
    owner: or(given.owner, owner),
    version: or(given.version, version),
    spots: fc.constant(some),
  })

const invalidate = (of: fc.Arbitrary<Spot>, writes: fc.Arbitrary<number>): fc.Arbitrary<Command> =>
  command('invalidate', {
    owner,
    isFormer: isRare,
    xid,
    writes,
    drops: fc.array(drop(of), { minLength: 1, maxLength: 3 }),
    quiet: isRare,
  })

/** More than a fence lists, most of the time. */
const burst = invalidate(
  fc.constant(spots[0] as Spot),
  mostly(fc.integer({ min: 33, max: mostWrites }), fc.integer({ min: 2, max: 32 })),
)

// ---------------------------------------------------------------- steps

type Steps = fc.Arbitrary<readonly Command[]>

/** One has the lease and another waits, until the first is done with it. */
const waits: Steps = fc.tuple(spot, version, owner, owner).chain(([one, version, first, second]) =>
  fc.tuple(
    acquire([one], { owner: first, version }),
    acquire([one], { owner: second, version }),
    command('wait', {
      owner: fc.constant(second),
      version: fc.constant(version),
      spot: fc.constant(one),
    }),
    fc.oneof(release([one], { owner: first, version }), fill([one], { owner: first, version })),
  ),
)

/** What lies there is proven, or outlived, from then on. */
const proofs: Steps = someOfOne.chain((some) =>
  fc.tuple(barrier, restore, lookup, acquire(some, { insist: false })),
)

/** Another server answers, which has lost nothing. */
const promotion = fc.tuple(save, command('fail over', { ago: fc.constant(0) }), barrier, restore)

function one(of: readonly [number, Steps][]): Steps {
  return fc.oneof(...of.map(([weight, arbitrary]) => ({ weight, arbitrary })))
}

const calls = one([
  [4, fc.tuple(lookup)],
  [3, someOfOne.chain((some) => fc.tuple(acquire(some)))],
  [2, someOfOne.chain((some) => fc.tuple(fill(some)))],
  [5, someOfOne.chain((some) => fc.tuple(acquire(some, { insist: true }), fill(some)))],
  [2, someOfOne.chain((some) => fc.tuple(acquire(some), renew))],
  [1, someOfOne.chain((some) => fc.tuple(release(some)))],
  [2, waits],
  [5, fc.tuple(invalidate(spot, fc.constant(1)))],
  [1, fc.tuple(burst)],
  [1, fc.tuple(barrier)],
  [4, proofs],
])

const damaged = fc.constantFrom('head' as const, 'payload' as const, 'end' as const)
const faults = one([
  [4, fc.tuple(command('evict', { spot, what: fc.constantFrom('fence', 'values', 'both') }))],
  [2, fc.tuple(command('damage', { spot, version, what: damaged }))],
  [1, fc.tuple(command('evict the barrier', {}))],
  [1, fc.tuple(command('damage the barrier', {}))],
  [1, fc.tuple(command('flush', {}))],
  [1, fc.tuple(command('restart empty', {}))],
  [2, fc.tuple(save)],
  [2, fc.tuple(command('fail over', { ago }))],
  [5, promotion],
  [8, fc.tuple(command('elapse', { units: fc.constantFrom(1, 1, 2, 4) }))],
])

const steps = one([
  [5, calls],
  [1, faults],
])

export const sequences: fc.Arbitrary<Sequence> = fc.record({
  base: fc.constantFrom(...bases),
  commands: fc
    .array(steps, { minLength: 1, maxLength: mostSteps, size: 'max' })
    .map((all) => all.flat()),
})
