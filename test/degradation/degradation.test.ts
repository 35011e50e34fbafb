/** The short form of the matrix (`npm run degradation`): a few cells, and a few seconds of each. */
import { expect, test } from 'vitest'
import { type Cell, nameOf } from './cells.ts'
import { runMatrix } from './run-matrix.ts'

const faultMs = 3_000
/** Longer than by default: other tests' servers may be on their way out, and nobody picks the machine. */
const tryDeadlineMs = 1_000
const cells: readonly Cell[] = [
  { services: [], fault: 'none', faultMs },
  { services: ['redis'], fault: 'hung', faultMs },
  { services: ['postgres'], fault: 'refused', faultMs },
  { services: ['kafka'], fault: 'refused', faultMs },
  { services: ['redis', 'kafka'], fault: 'flapping', faultMs },
  { services: ['prometheus'], fault: 'refused', faultMs },
]

test('while services are away or hang, what is promised is kept', async ({ signal }) => {
  // Another one each time: the failure names it.
  const seed = Math.floor(Math.random() * 2 ** 31)
  const results = await runMatrix(cells, { seed, signal, tryDeadlineMs })
  const broken = results.map((result) => [nameOf(result), ...result.broken])
  expect(broken, `seed ${seed}`).toEqual(cells.map((cell) => [nameOf(cell)]))
}, 240_000)
