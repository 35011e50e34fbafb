import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { copyScripts, kafkaOnly, newClone, recordOf, say, scripts } from '../support/clones.ts'
import { startKafka, whyThereIsNone } from '../support/kafka.ts'

test('two setups at once start one broker; it is ended by stop, and started again with its data', async () => {
  const clone = newClone()
  const setUp = () => scripts.withLock(clone, () => scripts.findServices(clone, kafkaOnly), { say })

  const [one, two] = await Promise.all([setUp(), setUp()])

  expect(two).toEqual(one)
  expect(one.kafka).toMatchObject({ version: expect.stringMatching(/^\d\.\d$/) })
  const { clusterId } = await scripts.describeBroker(one.kafka.url)
  const { pid, startTime } = recordOf(clone, 'kafka')
  expect(scripts.statusOf(clone)).toContain(`Kafka runs as process ${pid}, started by this clone`)

  expect(await scripts.stopServices(clone)).toEqual(['Kafka'])
  expect(scripts.startTimeOf(pid)).not.toBe(startTime)
  const again = await setUp()
  // On other ports, which a quorum of one must not mind.
  expect(again.kafka.url).not.toBe(one.kafka.url)
  expect((await scripts.describeBroker(again.kafka.url)).clusterId).toBe(clusterId)
})

test('without any Kafka setup succeeds and says what is missing, and so does a test', async () => {
  const clone = newClone()
  copyScripts(clone)
  const said: string[] = []
  const { DATABASE_URL, REDIS_URL } = process.env

  const found = await scripts.findServices(clone, {
    env: { DATABASE_URL, REDIS_URL, PATH: '/nowhere' },
    without: ['standard port', 'fetched'],
    say: (line) => said.push(line),
  })

  expect(found.postgres).toMatchObject({ url: DATABASE_URL })
  expect(found.redis).toMatchObject({ url: REDIS_URL })
  const missing = whyThereIsNone(clone.state)
  expect(missing).toBe(found.kafka.missing)
  expect(said.join()).toContain(missing)
  for (const part of [
    'KAFKA_BROKERS is not set',
    'no KAFKA_HOME',
    'no docker',
    'apt-get install',
  ]) {
    expect(missing).toContain(part)
  }
  expect(scripts.tableOf(found)).toMatch(/^Kafka +missing/m)
  const withServices = [join('scripts', 'with-services.mjs'), 'printenv', 'KAFKA_BROKERS']
  const { KAFKA_BROKERS: _, ...env } = process.env
  expect(spawnSync(process.execPath, withServices, { cwd: clone.root, env }).status).toBe(1)
})

test.each([
  ['without a port', 'localhost'],
  ['as a URL', 'kafka://127.0.0.1:9092'],
])('an address %s ends setup, which says how it must look', async (_, brokers) => {
  const env = { KAFKA_BROKERS: brokers }
  const search = scripts.findServices(newClone(), { ...kafkaOnly, env })
  const message = `KAFKA_BROKERS is ${brokers}: it must look like host:port,host:port.`
  await expect(search).rejects.toThrow(message)
})

test('addresses where no Kafka answers end setup, each with its reason', async () => {
  const web = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  const mute = createServer((socket) => socket.end())
  const ports = await Promise.all([web, mute].map(listen))
  const [one, two] = ports.map((port) => `127.0.0.1:${port}`)
  const env = { KAFKA_BROKERS: `127.0.0.1:1,${one},${two}` }

  const search = scripts.findServices(newClone(), { ...kafkaOnly, env })

  await expect(search).rejects.toThrow(
    `KAFKA_BROKERS is ${env.KAFKA_BROKERS}, but Kafka there can't be used: ` +
      '127.0.0.1:1: connect ECONNREFUSED 127.0.0.1:1; ' +
      `${one}: answers, but not as Kafka does; ${two}: closed the connection`,
  )
})

test('a broker that sends its clients where none can go is no broker', async () => {
  const { brokers } = await startKafka({ advertised: '127.0.0.1:1' })
  const env = { KAFKA_BROKERS: brokers.join() }
  const search = scripts.findServices(newClone(), { ...kafkaOnly, env })
  await expect(search).rejects.toThrow('sends clients to 127.0.0.1:1 (advertised.listeners)')
})

async function listen(server: Server): Promise<number> {
  onTestFinished(() => void server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}
