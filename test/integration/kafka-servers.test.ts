import { once } from 'node:events'
import { connect } from 'node:tls'
import { expect, onTestFinished, test } from 'vitest'
import { scripts } from '../support/clones.ts'
import { createTopic, ownTopic, sharedKafka, startKafka } from '../support/kafka.ts'

const exists = /Kafka's error 36/

test('a broker of a test keeps its address and topics when it is killed and started again', async () => {
  const broker = await startKafka()
  const [address] = broker.brokers as [string]
  await createTopic(address, 'one', 3)

  await broker.kill()
  await expect(scripts.describeBroker(address)).rejects.toThrow('ECONNREFUSED')
  await broker.restart()
  await expect(createTopic(address, 'one', 3)).rejects.toThrow(exists)

  await broker.stop()
  await expect(scripts.describeBroker(address)).rejects.toThrow('ECONNREFUSED')
})

test('it speaks TLS with a certificate of its own, and answers nobody without SASL', async () => {
  const { port, brokers, ca } = await startKafka({ tls: true, users: { alice: 'secret' } })

  const socket = connect({ port, host: '127.0.0.1', ca: String(ca) })
  onTestFinished(() => void socket.destroy())
  await once(socket, 'secureConnect')
  expect(socket.authorized).toBe(true)
  await expect(scripts.describeBroker(brokers.join())).rejects.toThrow('Kafka')
})

test('a topic of a test is gone from the shared broker when the test has ended', async () => {
  const [address] = sharedKafka() as [string]
  // Runs after what ownTopic has left to do: the last registered is the first run.
  onTestFinished(async () => {
    await createTopic(address, topic, 1)
    await scripts.deleteTopic(address, topic)
  })
  const topic = ownTopic()
  await createTopic(address, topic, 2, { 'retention.ms': '60000' })
  await expect(createTopic(address, topic, 2)).rejects.toThrow(exists)
})
