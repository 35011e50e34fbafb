/** What `lockstep doctor` prints: no secret, and nothing that a terminal would act on. */
import { expect, test } from 'vitest'
import { readConfig } from '../../src/config.ts'
import { textOf, withoutSecrets } from '../../src/doctor-text.ts'
import type { DoctorRow } from '../../src/model/doctor.ts'

const row = (found: string, state: DoctorRow['state'] = 'broken', check = 'redis-reachable') =>
  ({ place: 'redis', check, state, found, because: 'it matters', remedy: 'mend it' }) as const

const config = readConfig({
  DATABASE_URL: 'postgres://u:p%40ss@h/d?password=another',
  REDIS_URL: 'redis://:hunter2@h',
  PROMETHEUS_URL: 'http://ops:pro@h',
  KAFKA_BROKERS: 'a:1',
  LOCKSTEP_KAFKA_SASL: 'plain',
  LOCKSTEP_KAFKA_USERNAME: 'me',
  LOCKSTEP_KAFKA_PASSWORD: 'a+b',
})

test('what a service sends back of a password is not shown, however it is written', () => {
  const basic = Buffer.from('ops:pro').toString('base64')
  for (const secret of ['p@ss', 'p%40ss', 'another', 'hunter2', 'pro', basic, 'a+b']) {
    const [shown] = withoutSecrets([row(`no such command "${secret}"`)], config)
    expect(shown?.found).toBe('no such command "***"')
  }
  expect(withoutSecrets([row('process of a project')], config)).toEqual([
    row('process of a project'),
  ])
})

test('a URL that is none is a secret as a whole', () => {
  const broken = readConfig({ REDIS_URL: 'hunter2@10.0.0.1' })
  expect(withoutSecrets([row('at hunter2@10.0.0.1')], broken)[0]?.found).toBe('at ***')
})

test('a table, what was skipped by its reason, and what to do', () => {
  const text = textOf([
    row('a server', 'ok', 'redis-mode'),
    row('nobody\u001b[2J\nlistens'),
    row('there is none', 'skipped', 'kafka-topic'),
    row('there is none', 'skipped', 'kafka-brokers'),
  ])
  expect(text).toBe(
    [
      'check            state   found',
      'redis-mode       ok      a server',
      'redis-reachable  broken  nobody [2J listens',
      'skipped: kafka-topic, kafka-brokers: there is none',
      '',
      'broken: redis-reachable: nobody [2J listens',
      '  why: it matters',
      '  do:  mend it',
      '',
      '1 ok, 0 warnings, 1 broken, 2 skipped',
      '',
    ].join('\n'),
  )
})
