/** What is logged holds no secret, wherever it stands in what came. */
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { LockstepError } from '../../../src/model/errors.ts'
import type { Logger } from '../../../src/model/log.ts'
import { redact, redacting, redactText } from '../../../src/model/redact.ts'

const secret = 'hunter2'

const pem = [
  '-----BEGIN RSA PRIVATE KEY-----',
  'Proc-Type: 4,ENCRYPTED',
  'hunter2+hunter2/==',
  '-----END RSA PRIVATE KEY-----',
].join('\n')

describe('a text', () => {
  test.each([
    ['postgres://shop:hunter2@db:5432/shop is away', 'postgres://***@db:5432/shop is away'],
    ['redis://:hunter2@10.0.0.1', 'redis://***@10.0.0.1'],
    ['http://ops:hunter2@prometheus:9090/', 'http://***@prometheus:9090/'],
    ['"postgres://u:hun/t@er"hunter2@db/x"', '"postgres://***@db/x"'],
    ['redis://a:hunter2@one,redis://b:hunter2@two', 'redis://***@two'],
    ['host=db password=hunter2 user=shop', 'host=db password=*** user=shop'],
    ["password='hunter2 hunter2' x", 'password=*** x'],
    [
      'postgres://db/shop?user=u&password=hunter2&ssl=1',
      'postgres://db/shop?user=u&password=***&ssl=1',
    ],
    ['{"password":"hunter2","user":"u"}', '{"password":***,"user":"u"}'],
    ["{ password: 'hunter2', user: 'u' }", "{ password: ***, user: 'u' }"],
    ['Authorization: Basic b3BzOmh1bnRlcjI=', 'Authorization: ***'],
    ["authorization: 'Bearer hunter2'", "authorization: '***'"],
    ['sent Basic b3BzOmh1bnRlcjI= twice', 'sent Basic *** twice'],
    ['at ops:hunter2@prometheus:9090, again', 'at ***@prometheus:9090, again'],
    [`the key ${pem} and more`, 'the key *** and more'],
    [`{"key":${JSON.stringify(pem)}}`, '{"key":"***"}'],
    [`cut: ${pem.slice(0, 60)}`, 'cut: ***'],
  ])('%s', (text, shown) => {
    expect(redactText(text)).toBe(shown)
  })

  test.each([
    'password authentication failed for user "shop"',
    'option "prometheus.password": prometheus.username beside it would do',
    'connect ECONNREFUSED 127.0.0.1:6379',
    'redis://10.0.0.1:6379 does not answer',
    'basic authentication is not set up',
    'somebody@example.com',
    'at 10:42 somebody@example.com asked 127.0.0.1:6379',
  ])('is left as it is without one: %s', (text) => {
    expect(redactText(text)).toBe(text)
  })

  test('is cut when it is long, never in the middle of a URL', () => {
    const text = `${'a '.repeat(8_188)}postgres://shop:${secret.repeat(50)}@db`
    expect(redactText(text)).not.toContain(secret)
    const long = 'a://'.repeat(1_000_000)
    const beganAt = performance.now()
    expect(redactText(long).length).toBeLessThan(20_000)
    expect(performance.now() - beganAt).toBeLessThan(2_000)
  })
})

test.each([
  ['a word', 'a'.repeat(16_000)],
  ['keys without an end', '-----BEGIN PRIVATE KEY-----'.repeat(600)],
  ['a word that ends as a name does', `${'token-'.repeat(2_600)} =`],
  ['schemes', 'a://'.repeat(4_000)],
  ['schemes after a user', `a://b@${'a://'.repeat(4_000)}`],
  ['users without a host', ',a:'.repeat(5_000)],
  ['users before a path', `${',a:'.repeat(5_000)}/x@y`],
  ['names without a value', `${'pwd:'.repeat(4_000)}`],
  ['values without an end', `${`pwd:"pwd='`.repeat(1_600)}`],
])('a long text of %s keeps nobody waiting', (_, text) => {
  const tookMs = [1, 2, 3].map(() => {
    const beganAt = performance.now()
    redactText(text)
    return performance.now() - beganAt
  })
  expect(Math.min(...tookMs)).toBeLessThan(100)
})

test('of a value that was cut nothing is left', () => {
  const text = `{"password":"${secret} ${'x y '.repeat(5_000)}"}`
  expect(redactText(text)).not.toContain(secret)
  expect(redactText(`password='${secret} ${secret}`)).not.toContain(secret)
})

test('objects that all know each other are looked at so many times, and no more', () => {
  let looks = 0
  const all: object[] = Array.from({ length: 12 }, () => ({
    get name() {
      looks++
      return 'one'
    },
  }))
  for (const one of all) Object.assign(one, { ...all })
  const error = Object.assign(new Error('of many'), { cause: all, errors: all })
  expect(inspect(redact({ all, error }), { depth: 20 })).toContain('one')
  expect(looks).toBeLessThan(2_000)
})

test('fields with such names are hidden at any depth, and others are kept', () => {
  const details = {
    hop: 'l2',
    at: new Date(0),
    missing: undefined,
    attempts: 3n,
    options: {
      connectionString: secret,
      host: 'db',
      kafka: [{ sasl: { mechanism: 'plain', password: secret } }],
      headers: { Authorization: secret, 'x-api-key': secret, accept: '*/*' },
    },
    url: new URL(`postgres://u:${secret}@db/shop`),
    bytes: Buffer.from(secret),
    deep: { a: { b: { c: { d: { e: { f: secret } } } } } },
  }
  expect(redact(details)).toEqual({
    hop: 'l2',
    at: new Date(0),
    missing: undefined,
    attempts: '3',
    options: {
      connectionString: '***',
      host: 'db',
      kafka: [{ sasl: '***' }],
      headers: { Authorization: '***', 'x-api-key': '***', accept: '*/*' },
    },
    url: 'postgres://***@db/shop',
    bytes: '7 bytes',
    deep: { a: { b: { c: { d: { e: '{…}' } } } } },
  })
})

test('an error keeps its class, code and causes, and loses what clients hang on it', () => {
  const cause = Object.assign(new Error(`to redis://:${secret}@r failed`), {
    code: 'ECONNREFUSED',
    command: { args: [secret] },
  })
  const error = new LockstepError('SOURCE_UNAVAILABLE', `postgres://u:${secret}@db is away`, {
    cause: new AggregateError([cause], 'all failed', { cause }),
  })
  const shown = redact({ err: error }) as { err: LockstepError }
  expect(shown.err).toBeInstanceOf(LockstepError)
  expect(shown.err).toMatchObject({ name: 'LockstepError', code: 'SOURCE_UNAVAILABLE' })
  expect(shown.err.message).toBe('postgres://***@db is away')
  const aggregate = shown.err.cause as AggregateError
  expect(aggregate).toBeInstanceOf(AggregateError)
  expect(aggregate.errors[0]).toMatchObject({ code: 'ECONNREFUSED' })
  expect(inspect(shown, { depth: 20, showHidden: true })).not.toContain(secret)
  // What was thrown is left alone.
  expect(cause.message).toContain(secret)
})

test('what goes in circles or throws when it is looked at ends nothing', () => {
  const circle: Record<string, unknown> = { name: 'circle' }
  circle.self = circle
  const error = new Error('in circles')
  error.cause = error
  const hostile = {
    get message(): string {
      throw new Error(secret)
    },
  }
  const seen: unknown[] = []
  const log = (details: object): void => void seen.push(details)
  const logger: Logger = redacting({ debug: log, info: log, warn: log, error: log })
  logger.warn({ circle, err: error }, 'a')
  logger.warn({ hostile }, 'b')
  expect(seen).toHaveLength(2)
  expect(seen[1]).toEqual({ details: 'they cannot be shown' })
})

describe('a logger', () => {
  test('is passed on what may be shown, on its own level', () => {
    const lines: string[] = []
    class Own implements Logger {
      readonly #name = 'own'
      debug(details: object, message: string): void {
        lines.push(`${this.#name} debug ${JSON.stringify(details)} ${message}`)
      }
      info = (): void => {}
      warn(details: object, message: string): void {
        lines.push(`${this.#name} warn ${JSON.stringify(details)} ${message}`)
      }
      error = (): void => {}
    }
    const logger = redacting(new Own())
    logger.debug({ password: secret }, `a redis://:${secret}@r`)
    logger.warn({ node: 'r' }, 'b')
    expect(lines).toEqual([
      'own debug {"password":"***"} a redis://***@r',
      'own warn {"node":"r"} b',
    ])
  })

  test.each([null, 'pino', {}, { debug: () => {} }])('%j is none', (logger) => {
    expect(() => redacting(logger as never)).toThrow(
      expect.objectContaining({
        code: 'OPTION_INVALID',
        message: expect.stringContaining('"logger"'),
      }),
    )
  })
})
