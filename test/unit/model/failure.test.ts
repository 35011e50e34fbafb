import { expect, test } from 'vitest'
import { networkFailure } from '../../../src/model/failure.ts'

const withCode = (code: string): Error => Object.assign(new Error('it failed'), { code })

test.each([
  ['ECONNREFUSED', 'refused'],
  ['EAI_AGAIN', 'name'],
  ['EHOSTUNREACH', 'route'],
  ['ETIMEDOUT', 'silent'],
  ['ECONNRESET', 'cut'],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'tls'],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'tls'],
])('%s is %s, wherever it stands', (code, kind) => {
  const failure = { kind, detail: code }
  const inner = withCode(code)
  expect(networkFailure(inner)).toEqual(failure)
  expect(networkFailure(new Error('outer', { cause: inner }))).toEqual(failure)
  expect(networkFailure(new AggregateError([inner, inner]))).toEqual(failure)
  expect(networkFailure(Object.assign(new Error('outer'), { originalError: inner }))).toEqual(
    failure,
  )
})

test('what Node did not say is none, and a circle ends', () => {
  const circle = withCode('28P01')
  circle.cause = circle
  for (const error of [circle, undefined, 'ECONNREFUSED', { code: 'toString' }]) {
    expect(networkFailure(error)).toBeUndefined()
  }
})
