import { expect, test } from 'vitest'
import { lineOf } from '../../../src/telemetry/log.ts'

test('on a terminal it is one line, with who speaks and what is known', () => {
  const details = { hop: 'l2', node: undefined, ids: [1, 2], err: new Error('no\n  answer') }
  expect(lineOf('lockstep', 'warn', details, 'Redis is away')).toBe(
    'lockstep: warn: Redis is away hop=l2 ids=[1,2]: no answer\n',
  )
})

test('what came from elsewhere cannot write to the terminal as it likes', () => {
  expect(lineOf('lockstep', 'info', { reason: '\u001b[2J\u0007' }, 'a\u009bb')).toBe(
    'lockstep: info: a b reason= [2J \n',
  )
})
