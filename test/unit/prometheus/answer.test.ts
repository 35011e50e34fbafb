import { describe, expect, test } from 'vitest'
import { mostSeries, parseAnswer } from '../../../src/prometheus/answer.ts'

const success = (data: unknown): string => JSON.stringify({ status: 'success', data })
const vector = (...result: readonly unknown[]): string => success({ resultType: 'vector', result })
const series = (value: unknown, metric: unknown = { hop: 'l2' }): unknown => ({ metric, value })
const at = 1_700_000_000.123

test('a vector is its samples, with the time that they are of', () => {
  const body = vector(series([at, '0.25']), series([at - 1, '1e-3'], { hop: 'bus', node: 'a' }))
  expect(parseAnswer(200, body)).toEqual({
    kind: 'samples',
    atMs: (at - 1) * 1_000,
    samples: [
      { labels: { hop: 'l2' }, value: 0.25 },
      { labels: { hop: 'bus', node: 'a' }, value: 0.001 },
    ],
  })
})

test('a scalar is one sample without labels', () => {
  const body = success({ resultType: 'scalar', result: [at, '7'] })
  expect(parseAnswer(200, body)).toMatchObject({ samples: [{ labels: {}, value: 7 }] })
})

test.each([
  ['NaN', Number.NaN],
  ['+Inf', Number.POSITIVE_INFINITY],
  ['-Inf', Number.NEGATIVE_INFINITY],
  ['-0.5', -0.5],
  ['12', 12],
  ['.5', 0.5],
  ['1.5E+10', 1.5e10],
])('%s is a number as Prometheus writes it', (text, value) => {
  expect(parseAnswer(200, vector(series([at, text])))).toMatchObject({ samples: [{ value }] })
})

describe('what is none of this is unknown, with the reason', () => {
  test.each([
    ['an empty vector', 200, vector(), 'empty', 'no series'],
    ['a matrix', 200, success({ resultType: 'matrix', result: [] }), 'type', 'a matrix,'],
    ['a string', 200, success({ resultType: 'string', result: [at, 'x'] }), 'type', 'a string,'],
    ['a type of the future', 200, success({ resultType: 'X Y' }), 'type', 'a something unknown'],
    ['a vector that is none', 200, success({ resultType: 'vector', result: {} }), 'type', 'vector'],
    ['no data', 200, JSON.stringify({ status: 'success' }), 'type', 'neither'],
    ['a status of the future', 200, JSON.stringify({ status: 'partly' }), 'type', 'neither'],
    ['a series without labels', 200, vector({ value: [at, '1'] }), 'type', 'without labels'],
    ['a label that is no text', 200, vector(series([at, '1'], { hop: 7 })), 'type', 'no text'],
    ['a series without a value', 200, vector(series(undefined)), 'type', 'without a value'],
    ['a value that is a number', 200, vector(series([at, 1])), 'type', 'without a value'],
    ['a time that is none', 200, vector(series(['now', '1'])), 'type', 'without a value'],
    ['a number in words', 200, vector(series([at, 'many'])), 'type', 'no number'],
    ['a number in hex', 200, vector(series([at, '0x10'])), 'type', 'no number'],
    ['an empty number', 200, vector(series([at, ''])), 'type', 'no number'],
    ['null', 200, vector(null), 'type', 'without labels'],
    ['HTML', 200, '<html>welcome</html>', 'not-json', 'no JSON'],
    ['nothing', 200, '', 'not-json', 'no JSON'],
    ['an array', 200, '[]', 'not-json', 'no JSON'],
    ['half an answer', 200, vector(series([at, '1'])).slice(0, -3), 'not-json', 'no JSON'],
    ['a gateway', 502, '<html>bad gateway</html>', 'http', 'HTTP 502'],
    ['a redirect', 302, '', 'http', 'HTTP 302'],
    ['a success with another status', 500, vector(series([at, '1'])), 'http', 'HTTP 500'],
    ['a wrong password', 401, 'Unauthorized', 'refused', 'HTTP 401'],
    ['a missing right', 403, vector(series([at, '1'])), 'refused', 'HTTP 403'],
  ])('%s', (_, status, body, reason, detail) => {
    const answer = parseAnswer(status, body)
    expect(answer).toMatchObject({ kind: 'unknown', reason })
    expect((answer as { detail: string }).detail).toContain(detail)
  })

  test('an error of the query, and another', () => {
    const error = (errorType: unknown, text: unknown): string =>
      JSON.stringify({ status: 'error', errorType, error: text })
    const query = parseAnswer(400, error('bad_data', 'parse error: unexpected end of input'))
    expect(query).toEqual({
      kind: 'unknown',
      reason: 'query',
      detail: 'bad_data: parse error: unexpected end of input',
    })
    const late = parseAnswer(503, error('timeout', 'x'.repeat(1_000)))
    expect(late).toMatchObject({ reason: 'http' })
    expect((late as { detail: string }).detail.length).toBeLessThan(250)
    expect(parseAnswer(422, error({}, null))).toMatchObject({ reason: 'http' })
  })

  test('more series than there can be hops', () => {
    const many = (count: number): string =>
      vector(...Array.from({ length: count }, (_, node) => series([at, '0'], { node: `${node}` })))
    expect(parseAnswer(200, many(mostSeries))).toMatchObject({ kind: 'samples' })
    expect(parseAnswer(200, many(mostSeries + 1))).toMatchObject({ reason: 'too-big' })
    expect(parseAnswer(200, many(10_000))).toMatchObject({ reason: 'too-big' })
  })
})
