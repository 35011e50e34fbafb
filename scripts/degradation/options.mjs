import { parseArgs } from 'node:util'
import { seedOf } from '../runs/seed.mjs'
import { UsageError } from '../runs/usage-error.mjs'

export const usage = `npm run degradation -- [options]

Breaks Redis, PostgreSQL, Kafka and Prometheus in turn, alone and with another, under an open load of
500 calls a second, and holds what was measured against what is promised (docs/degradation.md).

  --only NAMES     cells whose names begin so: "redis hung,kafka" (default: all, about 20 minutes)
  --seed N         repeats the workload (default: a new one)
  --write          puts the table into docs/degradation.md; all cells
  --json           the result as one line of JSON on stdout, and nothing else there

Exit code: 0 all promises are kept, 1 one is not or a part failed, 2 used wrongly.`

/** `{ only, seed, write, json }` or `{ help }`; throws a `UsageError`. */
export function parseOptions(args) {
  const { help, json = false, only, seed, write = false } = parse(args)
  if (help) return { help }
  if (write && only !== undefined) {
    throw new UsageError("--write needs all cells: --only can't go with it")
  }
  return { only: namesOf(only), seed: seedOf(seed), write, json }
}

function parse(args) {
  const text = { type: 'string' }
  const flag = { type: 'boolean' }
  const options = { only: text, seed: text, write: flag, json: flag, help: { ...flag, short: 'h' } }
  try {
    return parseArgs({ args, options }).values
  } catch (error) {
    throw new UsageError(error.message)
  }
}

function namesOf(only) {
  if (only === undefined) return []
  const names = only.split(',').map((name) => name.trim())
  if (names.every((name) => name !== '')) return names
  throw new UsageError(`--only is "${only}"; names of cells with commas between would do`)
}
