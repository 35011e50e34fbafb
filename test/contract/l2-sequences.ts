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
  payload: fc.constantFrom('a value' as const, 'no bytes' as const, 'nothing' as const),
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
const generation = fc.option(snapshot, { nil: undefined, freq: 1 })
const restore = command('restore', { owner, ago, snapshot, generation })

const acquire = (some: readonly Spot[], insist = fc.boolean()): fc.Arbitrary<Command> =>
  command('acquire', {
    owner,
    version,
    spots: fc.constant(some),
    isFormer: isRare,
    lease: halves,
    insist,
  })
const fill = (some: readonly Spot[]): fc.Arbitrary<Command> =>
  command('fill', {
    owner,
    version,
    fills: fc.tuple(...some.map((one) => fc.record({ spot: fc.constant(one), ...loaded }))),
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

/** Some mean little without the next. */
const steps = fc.oneof<fc.WeightedArbitrary<readonly Command[]>[]>(
  ...weighed([
    [2, fc.tuple(lookup)],
    [3, someOfOne.chain((some) => fc.tuple(acquire(some)))],
    [2, someOfOne.chain((some) => fc.tuple(fill(some)))],
    [5, someOfOne.chain((some) => fc.tuple(acquire(some, fc.constant(true)), fill(some)))],
    [2, someOfOne.chain((some) => fc.tuple(acquire(some), renew))],
    [1, fc.tuple(command('release', { owner, version, spots: someOfOne }))],
    [1, fc.tuple(command('wait', { owner, version, spot }))],
    [5, fc.tuple(invalidate(spot, fc.constant(1)))],
    [
      1,
      fc.tuple(
        invalidate(
          fc.constant(spots[0] as Spot),
          mostly(fc.integer({ min: 33, max: mostWrites }), fc.integer({ min: 2, max: 32 })),
        ),
      ),
    ],
    [1, fc.tuple(barrier)],
    [2, fc.tuple(barrier, restore, lookup)],
  ]),
  ...weighed([
    [1, fc.tuple(command('evict', { spot, what: fc.constantFrom('fence', 'values', 'both') }))],
    [
      1,
      fc.tuple(
        command('damage', { spot, version, what: fc.constantFrom('head', 'payload', 'end') }),
      ),
    ],
    [
      1,
      fc.oneof(
        ...weighed([
          [1, fc.tuple(command('evict the barrier', {}))],
          [1, fc.tuple(command('damage the barrier', {}))],
          [1, fc.tuple(command('flush', {}))],
          [1, fc.tuple(command('restart empty', {}))],
          [3, fc.tuple(command('save', {}))],
          [3, fc.tuple(command('fail over', { ago }))],
        ]),
      ),
    ],
    [2, fc.tuple(command('elapse', { units: fc.constantFrom(1, 2, 4) }))],
  ]),
)

function weighed(
  all: readonly [number, fc.Arbitrary<readonly Command[]>][],
): fc.WeightedArbitrary<readonly Command[]>[] {
  return all.map(([weight, arbitrary]) => ({ weight, arbitrary }))
}

export const sequences: fc.Arbitrary<Sequence> = fc.record({
  base: fc.constantFrom(...bases),
  commands: fc
    .array(steps, { minLength: 1, maxLength: mostSteps, size: 'max' })
    .map((all) => all.flat()),
})
