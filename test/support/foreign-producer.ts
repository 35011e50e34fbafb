/** Somebody who publishes to a topic with a client of their own, and whatever they like. */
import { Kafka, logLevel } from 'kafkajs'
import { onTestFinished } from 'vitest'

export async function openProducer(
  brokers: readonly string[],
  topic: string,
): Promise<(...values: (Buffer | string | null)[]) => Promise<void>> {
  const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING })
  const producer = kafka.producer({ allowAutoTopicCreation: false })
  await producer.connect()
  onTestFinished(() => producer.disconnect())
  return async (...values) => {
    await producer.send({ topic, messages: values.map((value) => ({ value, partition: 0 })) })
  }
}
