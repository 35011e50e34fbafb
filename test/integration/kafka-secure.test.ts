/** A broker that wants TLS and a password: options pass through, and secrets go nowhere else. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inspect } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'
import { publisher } from '../../src/publisher.ts'
import { cli } from '../support/cli.ts'
import { codeThrown } from '../support/code-thrown.ts'
import { startKafka } from '../support/kafka.ts'
import { ownNamespace } from '../support/namespace.ts'
import { ownFolder } from '../support/servers.ts'
import { openWorld } from '../support/world.ts'

const [right, wrong] = ['correct-horse', 'hunter2']

test('the right password gets in, a wrong one is refused, and neither is told', async () => {
  const server = await startKafka({ users: { me: right }, tls: true })
  const said: unknown[] = []
  const log = (...all: unknown[]): void => void said.push(all)
  const logger = { debug: log, info: log, warn: log, error: log }
  const kafkaWith = (password: string) => ({
    brokers: server.brokers,
    ssl: { ca: server.ca as string },
    sasl: { mechanism: 'plain' as const, username: 'me', password },
  })
  const open = (password: string) => {
    const kafka = kafkaWith(password)
    const events = publisher({ namespace: ownNamespace(), kafka, logger })
    onTestFinished(() => events.close())
    return { kafka, events }
  }

  const { kafka, events } = open(right)
  await events.invalidate('city', [1], { timeout: '20s' })
  // KafkaJS writes into what it is given; it is not given the caller's.
  expect(kafka).toEqual(kafkaWith(right))

  const failures: unknown[] = []
  const refused = open(wrong).events.invalidate('city', [1], { timeout: '20s' })
  failures.push(await refused.catch((error: unknown) => error))
  const world = await openWorld()
  const started = world.open({ options: { kafka: kafkaWith(wrong), logger } as never })
  failures.push(await started.catch((error: unknown) => error))
  for (const error of failures) expect(error).toMatchObject({ code: 'KAFKA_REFUSED' })

  const folder = ownFolder('lockstep-kafka-ca-', onTestFinished)
  const certificate = join(folder, 'ca.pem')
  writeFileSync(certificate, server.ca as string)
  const environment = {
    KAFKA_BROKERS: server.brokers.join(),
    NODE_EXTRA_CA_CERTS: certificate,
    LOCKSTEP_KAFKA_TLS: 'true',
    LOCKSTEP_KAFKA_SASL: 'plain',
    LOCKSTEP_KAFKA_USERNAME: 'me',
    LOCKSTEP_LOG_LEVEL: 'debug',
  }
  const list = (password: string) =>
    cli(['dead-letters', 'list'], { ...environment, LOCKSTEP_KAFKA_PASSWORD: password }).ended
  const [listed, notListed] = await Promise.all([list(right), list(wrong)])
  expect(listed).toMatchObject({ code: 0, stdout: 'no dead letters\n' })
  expect(notListed).toMatchObject({ code: 1, stdout: '' })

  // Something was said, so that this means something.
  expect(said.length).toBeGreaterThan(0)
  const all = inspect([failures, said, listed, notListed], { depth: 12, maxStringLength: null })
  for (const secret of [right, wrong]) {
    expect(all).not.toContain(secret)
    expect(all).not.toContain(Buffer.from(secret).toString('base64'))
  }
  // A broker of its own takes its time to start.
}, 90_000)

test('what can be no event is refused before it is published', async () => {
  const events = publisher({ namespace: 'shop', kafka: '127.0.0.1:1' })
  onTestFinished(() => events.close())
  const refusals = [
    [() => events.invalidate('city', []), 'OPTION_INVALID'],
    [() => events.invalidate('ci ty', [1]), 'OPTION_INVALID'],
    [() => events.invalidate('city', [Number.NaN]), 'ID_INVALID'],
    [() => events.invalidate('city', ['a\0b']), 'ID_INVALID'],
    [() => events.invalidate('city', [1], { timeout: 'soon' }), 'OPTION_INVALID'],
    [() => events.invalidate('city', [1], { signals: 1 } as never), 'OPTION_INVALID'],
  ] as const
  for (const [call, code] of refusals) await expect(call()).rejects.toMatchObject({ code })
  for (const options of [
    { namespace: 'shop', kafka: '' },
    { namespace: '?', kafka: 'a:1' },
    { namespace: 'shop', kafka: 'a:1', postgres: 'postgres://u:hunter2@db/shop' },
    { namespace: 'shop', kafka: 'a:1', source: 'x'.repeat(300) },
    undefined,
  ]) {
    expect(codeThrown(() => publisher(options as never))).toBe('OPTION_INVALID')
  }
})

test('with Kafka away it is given up in time, or when the caller says so; closed, at once', async () => {
  const events = publisher({ namespace: 'shop', kafka: '127.0.0.1:1' })
  await expect(events.invalidate('city', [1], { timeout: 300 })).rejects.toMatchObject({
    code: 'KAFKA_UNAVAILABLE',
    retryable: true,
  })
  const controller = new AbortController()
  const waiting = events.invalidate('city', [1], { signal: controller.signal })
  controller.abort(new Error('enough'))
  await expect(waiting).rejects.toThrow('enough')
  await events.close()
  await expect(events.invalidate('city', [1])).rejects.toMatchObject({ code: 'CLOSED' })
})
