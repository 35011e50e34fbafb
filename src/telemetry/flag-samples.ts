/** What the metric of the flags is read from. */
import { type FlagName, flagNames } from '../model/flags.ts'
import type { Tally } from './counters.ts'
import type { Sample } from './registry.ts'

export interface ActiveFlag {
  readonly flag: FlagName
  /** `undefined`: for all. */
  readonly entity?: string | undefined
}

/** Each flag of all entities, set or not; of single entities those that are set. */
export function flagSamples(flags: readonly ActiveFlag[]): readonly Sample<'flag' | 'entity'>[] {
  const isSet = (name: FlagName): boolean =>
    flags.some(({ flag, entity }) => flag === name && entity === undefined)
  const single = new Map(
    flags.flatMap(({ flag, entity }) =>
      entity === undefined ? [] : [[`${flag} ${entity}`, { flag, entity }]],
    ),
  )
  return [
    ...flagNames.map((flag) => [isSet(flag) ? 1 : 0, { flag, entity: '*' }] as const),
    ...[...single.values()].map((labels) => [1, labels] as const),
  ]
}

const states = ['set', 'unset', 'expired'] as const

/** As above; from the first scrape on, so that a rate has something to start from. */
export function flagChangeSamples(changes: Tally): readonly Sample<'flag' | 'entity' | 'state'>[] {
  const zero = flagNames.flatMap((flag) => states.map((state) => `${flag} * ${state}`))
  return [...new Set([...zero, ...changes.keys()])].map((key) => {
    const [flag = '', entity = '', state = ''] = key.split(' ')
    return [changes.get(key) ?? 0, { flag, entity, state }]
  })
}
