import { test } from 'vitest'
import { replay } from '../simulation/proof.ts'
import { answer, asked } from './asked.ts'

test('a schedule is run again', async () => {
  const { trace, violations } = await replay(asked().replay)
  answer('replay', { trace, violations })
})
