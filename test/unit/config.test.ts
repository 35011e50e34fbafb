import { expect, test } from 'vitest'
import { examineConfig, readConfig } from '../../src/config.ts'
import { parseServeOptions } from '../../src/serve.ts'

test('an empty variable is one that is not set', () => {
  const unset = readConfig({})
  expect(readConfig({ DATABASE_URL: '', KAFKA_BROKERS: '', LOCKSTEP_SERVE_PORT: '' })).toEqual(
    unset,
  )
  expect(unset).toMatchObject({ kafka: undefined, serveHost: '127.0.0.1', servePort: '9464' })
})

test('how to get into Kafka', () => {
  const kafka = (environment: NodeJS.ProcessEnv) =>
    readConfig({ KAFKA_BROKERS: 'a:1,b:2', ...environment }).kafka
  expect(kafka({})).toEqual({ brokers: 'a:1,b:2' })
  expect(
    kafka({
      LOCKSTEP_KAFKA_TLS: 'true',
      LOCKSTEP_KAFKA_SASL: 'SCRAM-SHA-512',
      LOCKSTEP_KAFKA_USERNAME: 'me',
      LOCKSTEP_KAFKA_PASSWORD: 'hunter2',
      LOCKSTEP_KAFKA_TOPIC: 'log',
      LOCKSTEP_KAFKA_PARTITIONS: '6',
    }),
  ).toEqual({
    brokers: 'a:1,b:2',
    ssl: true,
    sasl: { mechanism: 'scram-sha-512', username: 'me', password: 'hunter2' },
    topic: 'log',
    partitions: 6,
  })
  expect(kafka({ LOCKSTEP_KAFKA_TLS: 'false' })).toMatchObject({ ssl: false })
})

test.each<[string, NodeJS.ProcessEnv]>([
  ['LOCKSTEP_KAFKA_TLS', { LOCKSTEP_KAFKA_TLS: 'perhaps' }],
  ['LOCKSTEP_KAFKA_SASL', { LOCKSTEP_KAFKA_USERNAME: 'me', LOCKSTEP_KAFKA_PASSWORD: 'hunter2' }],
  ['LOCKSTEP_KAFKA_PASSWORD', { LOCKSTEP_KAFKA_SASL: 'plain', LOCKSTEP_KAFKA_USERNAME: 'me' }],
  [
    'LOCKSTEP_KAFKA_SASL',
    {
      LOCKSTEP_KAFKA_SASL: 'gssapi',
      LOCKSTEP_KAFKA_USERNAME: 'me',
      LOCKSTEP_KAFKA_PASSWORD: 'hunter2',
    },
  ],
])('%s that will not do is told by its name: %j', (name, environment) => {
  let error: unknown
  try {
    readConfig({ KAFKA_BROKERS: 'a:1', ...environment })
  } catch (thrown) {
    error = thrown
  }
  expect(error).toMatchObject({ code: 'OPTION_INVALID' })
  expect(String(error)).toContain(name)
  expect(String(error)).toMatch(/would do/)
  expect(String(error)).not.toContain('hunter2')
})

test('where lockstep serve listens: the option, the environment, the default', () => {
  const environment = { LOCKSTEP_SERVE_HOST: '0.0.0.0', LOCKSTEP_SERVE_PORT: '80' }
  expect(parseServeOptions({}, readConfig({}))).toEqual({ host: '127.0.0.1', port: 9464 })
  expect(parseServeOptions({}, readConfig(environment))).toEqual({ host: '0.0.0.0', port: 80 })
  const given = { host: '::1', port: '0' }
  expect(parseServeOptions(given, readConfig(environment))).toEqual({ host: '::1', port: 0 })
  for (const port of ['70000', '-1', '1.5', 'http', '1e3', ' 80']) {
    expect(() => parseServeOptions({ port }, readConfig({}))).toThrow('--port')
  }
})

test('flags of the environment are names of flags', () => {
  expect(readConfig({}).flags).toEqual([])
  expect(readConfig({ LOCKSTEP_FLAGS: ' l2.bypass, serve.stale,' }).flags).toEqual([
    'l2.bypass',
    'serve.stale',
  ])
  expect(() => readConfig({ LOCKSTEP_FLAGS: 'all' })).toThrow(/LOCKSTEP_FLAGS is "all"; l1\.bypass/)
})

test('all that will not do is told at once, and the rest is read', () => {
  const { config, wrong, names } = examineConfig({
    LOCKSTEP_LOG_LEVEL: 'loud',
    LOCKSTEP_FLAGS: 'all,l2.bypass,none',
    KAFKA_BROKERS: 'a:1',
    LOCKSTEP_KAFKA_TLS: 'perhaps',
    LOCKSTEP_KAFKA_PASSWORD: 'hunter2',
    LOCKSTEP_NAMESPACE: '',
  })
  const told = wrong.map(({ message }) => message.split(' ')[0])
  expect(told.sort()).toEqual([
    'LOCKSTEP_FLAGS',
    'LOCKSTEP_FLAGS',
    'LOCKSTEP_KAFKA_SASL',
    'LOCKSTEP_KAFKA_TLS',
    'LOCKSTEP_LOG_LEVEL',
  ])
  expect(config).toMatchObject({
    logLevel: undefined,
    flags: ['l2.bypass'],
    kafka: { brokers: 'a:1', ssl: false },
  })
  expect(names).not.toContain('LOCKSTEP_NAMESPACE')
  expect(names).toContain('LOCKSTEP_KAFKA_PASSWORD')
})
