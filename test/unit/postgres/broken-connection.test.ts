import type { Client } from 'pg'
import { expect, test } from 'vitest'
import { failureOver } from '../../../src/postgres/broken-connection.ts'

const well = {} as Client
const broken = { __knex__disposed: new Error('Connection terminated unexpectedly') } as never
const unavailable = { code: 'SOURCE_UNAVAILABLE', retryable: true }
const withCode = (message: string, code: string): Error =>
  Object.assign(new Error(message), { code })

test.each([
  new Error('a mistake of the caller'),
  withCode('connect ECONNREFUSED 10.0.0.9:443', 'ECONNREFUSED'),
  new Error('request to https://payments failed: read ECONNRESET'),
  new Error('timeout expired'),
  withCode('deadlock detected', '40001'),
])('over a connection that is well an error is whose it is: %s', (error) => {
  expect(failureOver(well, error)).toBe(error)
})

test('over one that broke it is the source’s, whatever is made of it', () => {
  for (const error of [new Error('a mistake'), withCode('write EPIPE', 'EPIPE'), undefined]) {
    expect(failureOver(broken, error)).toMatchObject(unavailable)
  }
})

test('and so it is when PostgreSQL says that it ends the connection', () => {
  const ended = withCode('terminating connection due to administrator command', '57P01')
  expect(failureOver(well, ended)).toMatchObject({ ...unavailable, cause: ended })
})
