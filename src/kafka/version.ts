/** Which Kafka answers: no request of KafkaJS asks for it, but brokers before 4.0 have it among their options. */
import type { ConfigResourceTypes } from 'kafkajs'
import type { Logger } from '../model/log.ts'
import { withAdmin } from './client.ts'
import { settleKafka } from './options.ts'
import { unavailable } from './refusal.ts'

/** KafkaJS' constant; its name is lost between a CommonJS package and an ES module. */
const brokerResource = 4 as ConfigResourceTypes.BROKER
const requestTimeoutMs = 2_000

/** As `3.9`; rejects with `KAFKA_UNAVAILABLE` or `KAFKA_REFUSED` when no broker answers in time. */
export async function kafkaVersion(
  brokers: string,
  log: Logger,
  signal: AbortSignal,
): Promise<string> {
  const settings = settleKafka(brokers, 'version')
  try {
    return await withAdmin(settings, { log, requestTimeoutMs }, signal, async (admin) => {
      const { controller } = await admin.describeCluster()
      const { resources } = await admin.describeConfigs({
        includeSynonyms: false,
        resources: [
          {
            type: brokerResource,
            name: String(controller),
            configNames: ['inter.broker.protocol.version'],
          },
        ],
      })
      const found = resources[0]?.configEntries.find(({ configValue }) => configValue)
      return found?.configValue.replace(/-IV\d+$/, '') ?? '4 or newer'
    })
  } catch (error) {
    throw unavailable(error, 'its version could not be asked for')
  }
}
