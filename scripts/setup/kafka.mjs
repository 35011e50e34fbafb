import { join } from 'node:path'
import { settingsOf } from './checkout.mjs'
import { archiveClasses, isReady, prepareBroker } from './kafka/broker.mjs'
import { fetchedKafka, installedKafka } from './kafka/programs.mjs'
import { connects, describeBroker } from './kafka/wire.mjs'
import { startServer } from './server.mjs'

const STANDARD_ADDRESS = '127.0.0.1:9092'

// The last level of metadata.version of each release line: no request asks for the version itself.
const RELEASES = [
  [7, '3.3'],
  [8, '3.4'],
  [11, '3.5'],
  [14, '3.6'],
  [19, '3.7'],
  [20, '3.8'],
  [21, '3.9'],
  [25, '4.0'],
  [27, '4.1'],
  [29, '4.2'],
]

export const kafka = {
  name: 'Kafka',
  key: 'kafka',
  variable: 'KAFKA_BROKERS',
  // Only one of the two durable planes needs it: a setup without it is a whole one.
  isOptional: true,
  accepts: (brokers) => brokers.split(',').every((one) => /^(\[[^\]]+\]|[^\s:/]+):\d+$/.test(one)),
  example: 'host:port,host:port',
  standardAddress: STANDARD_ADDRESS,
  standardUrls: () => [STANDARD_ADDRESS],
  composePort: 9092,
  composeUrl: (port) => `127.0.0.1:${port}`,
  advice:
    'With Java 17 and Maven (Debian, Ubuntu: apt-get install maven; macOS: brew install maven) ' +
    'setup fetches it by itself.',
  probe,
  // Topics carry the clone's namespace, so nothing is to be set up in a broker that others use.
  claim: async (url) => ({ url, version: await probe(url) }),
  startInstalled: (checkout, context) => start(checkout, installedKafka(checkout, context)),
  startFetched: (checkout, context) => start(checkout, fetchedKafka(checkout, context)),
}

/** What tests start brokers of their own with, whatever broker setup has found; fetched if need be. */
export async function kafkaForTests(checkout, say = () => {}) {
  return archiveClasses(findProgram(checkout, { settings: settingsOf(checkout), say }))
}

function findProgram(checkout, context) {
  try {
    return installedKafka(checkout, context)
  } catch {
    return fetchedKafka(checkout, context)
  }
}

/** The release line of the first broker that answers; throws unless clients could use them all. */
async function probe(addresses) {
  const reasons = []
  for (const address of addresses.split(',')) {
    try {
      const { brokers, metadataVersion } = await describeBroker(address)
      await assertReachable(brokers)
      return releaseOf(metadataVersion)
    } catch (error) {
      reasons.push(`${address}: ${error.message || error.code}`)
    }
  }
  throw new Error(reasons.join('; '))
}

// A broker in a container often tells its clients a name that only other containers know.
async function assertReachable(brokers) {
  if (brokers.length === 0) throw new Error('knows no broker that is ready')
  await Promise.all(
    brokers.map(async (address) => {
      try {
        await connects(address)
      } catch (error) {
        const reason = error.message || error.code
        throw new Error(`sends clients to ${address} (advertised.listeners): ${reason}`)
      }
    }),
  )
}

function releaseOf(metadataVersion) {
  if (metadataVersion === undefined) return 'with ZooKeeper'
  const newest = RELEASES.at(-1)
  const release = RELEASES.find(([level]) => metadataVersion <= level)
  return release ? release[1] : `newer than ${newest[1]}`
}

async function start(checkout, found) {
  const program = await archiveClasses(found)
  const folder = join(checkout.state, `kafka-${checkout.id}`)
  let broker
  return startServer(checkout, {
    service: 'kafka',
    how: found.how,
    command: program.java,
    args: async (port) => {
      broker = await prepareBroker({ kafka: program, folder, port })
      return broker.args
    },
    url: (port) => `127.0.0.1:${port}`,
    isReady: (url) => isReady(broker, url),
    stopSignals: ['SIGTERM', 'SIGKILL'],
    dataDir: folder,
    logFile: join(checkout.state, 'kafka.log'),
  })
}
