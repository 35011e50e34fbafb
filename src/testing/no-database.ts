import { describe } from '../model/duration.ts'
import { LockstepError } from '../model/errors.ts'

/** What somebody looks at who prints, compares or awaits a value. */
const harmless: ReadonlySet<string> = new Set(['then', 'toJSON', 'asymmetricMatch', '$$typeof'])

/** Stands where a Knex would: each use is an error that says which it was, and what would do. */
export function noDatabase(name: 'db' | 'tx', who: string, wouldDo: string): object {
  const fail = (use: string): never => {
    throw new LockstepError(
      'OPTION_INVALID',
      `${who} used ${use}, and this cache has no database behind it; ${wouldDo}`,
    )
  }
  return new Proxy(() => {}, {
    apply: (_target, _this, args) => fail(`${name}(${args.map(describe).join(', ')})`),
    get: (_target, property) =>
      typeof property === 'symbol' || harmless.has(property)
        ? undefined
        : fail(`${name}.${property}`),
  })
}
