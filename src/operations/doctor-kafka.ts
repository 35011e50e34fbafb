import type { KafkaFacts, PartitionFacts } from '../model/doctor.ts'
import { broken, checksOn, ok, type PlaceChecks, skipped, type Verdict, warning } from './doctor.ts'
import { countText, quoted, secondsText } from './doctor-words.ts'

const on = checksOn<KafkaFacts>()

const wantedCopies = 3
const wantedInSync = 2
const outboxHasIt =
  'publishing waits for all replicas in sync; with less than this a broker that dies takes along what it had confirmed'

const rights = 'grant what docs/kafka.md has to this user'

const alter = (topic: string, setting: string): string =>
  `kafka-configs.sh --bootstrap-server … --alter --topic ${topic} --add-config ${setting}`

/** A check of a setting of the log's topic, where that is there. */
function onSetting(
  setting: string,
  wanted: string,
  texts: { readonly looksAt: string; readonly because: string },
  judge: (
    value: string,
    around: { readonly outboxRetentionMs: number; readonly brokers: number },
  ) => Verdict,
) {
  const remedy = alter('<topic>', wanted)
  return {
    ...texts,
    remedy,
    judge: ((facts, { outboxRetentionMs }) => {
      const { settings, brokers, log } = facts
      if (!settings.isKnown) return [skipped(`it can't be told: ${settings.why}`)]
      const value = settings.value[setting]
      if (value === undefined) return [skipped('the topic is not there, or does not say')]
      const count = brokers.isKnown ? brokers.value.count : 1
      const verdict = judge(value, { outboxRetentionMs, brokers: count })
      const topic = log.isKnown ? log.value.topic : '<topic>'
      return [{ remedy: alter(topic, wanted), ...verdict }]
    }) satisfies PlaceChecks<KafkaFacts>['checks'][string]['judge'],
  }
}

export const kafkaChecks: PlaceChecks<KafkaFacts> = {
  place: 'kafka',
  reach: {
    variable: 'KAFKA_BROKERS',
    looksAt: 'whether one of `KAFKA_BROKERS` answers',
    because: 'while it is down, L1 is not proven and reads go to Redis; nothing is lost',
    remedy: 'correct KAFKA_BROKERS, host:9092,host:9092, or mend the brokers',
    remedies: {
      password:
        'correct LOCKSTEP_KAFKA_SASL, LOCKSTEP_KAFKA_USERNAME and LOCKSTEP_KAFKA_PASSWORD, or unset them where the brokers want none',
      rights,
      cut: 'set LOCKSTEP_KAFKA_TLS=true where the brokers speak TLS, and not where they do not, and LOCKSTEP_KAFKA_SASL where they want a password',
      silent:
        'look whether the brokers hang, and whether they announce addresses (advertised.listeners) that this machine can reach; LOCKSTEP_KAFKA_TLS and LOCKSTEP_KAFKA_SASL have to be as the brokers want them',
      tls: 'set LOCKSTEP_KAFKA_TLS=true where the brokers speak TLS, and not where they do not; trust their certificate with NODE_EXTRA_CA_CERTS=/path/to/ca.pem',
    },
  },
  checks: {
    'kafka-brokers': on(
      'brokers',
      {
        looksAt: 'how many brokers there are, and whether one is the controller',
        because: 'without a controller no topic is made and no leader chosen',
        remedy: 'look into the logs of the controllers',
      },
      ({ count, hasController }) => {
        const found = countText(count, 'broker')
        return hasController ? ok(found) : broken(`${found}, and none is the controller`)
      },
    ),
    'kafka-topic': on(
      'log',
      {
        looksAt: 'whether the topic of the log is there, with a leader for each partition',
        because: 'the first instance makes it, if it may; what has no leader takes nothing',
        remedy:
          'make it beforehand where instances may not Create, or correct LOCKSTEP_KAFKA_TOPIC',
      },
      ({ topic, isBarred, partitions }) => {
        if (isBarred) return broken(`this user may not use topic ${quoted(topic)}`, rights)
        if (partitions === undefined) return warning(`topic ${quoted(topic)} is not there yet`)
        const leaderless = partitions.filter(({ hasLeader }) => !hasLeader).length
        if (leaderless === 0) return ok(`topic ${quoted(topic)}`)
        return broken(
          `topic ${quoted(topic)}: ${countText(leaderless, 'partition')} without a leader`,
          'bring the brokers back that hold its copies',
        )
      },
    ),
    'kafka-partitions': {
      looksAt: 'whether the topic has as many partitions as the instances want',
      because: 'the start of an instance fails with KAFKA_TOPIC_INVALID',
      remedy:
        'set LOCKSTEP_KAFKA_PARTITIONS, and `kafka.partitions` of all instances, to what there is',
      judge: ({ log }, { plane }) => {
        const partitions = log.isKnown ? log.value.partitions : undefined
        if (partitions === undefined) return [skipped('the topic is not there, or not told of')]
        const wanted = Number(/:(\d+)$/.exec(plane ?? '')?.[1])
        const found = countText(partitions.length, 'partition')
        if (partitions.length === wanted) return [ok(found)]
        const remedy = `set LOCKSTEP_KAFKA_PARTITIONS=${partitions.length}, and \`kafka.partitions\` of all instances alike`
        return [broken(`${found}, and ${wanted} are wanted`, remedy)]
      },
    },
    'kafka-cleanup-policy': onSetting(
      'cleanup.policy',
      'cleanup.policy=delete',
      {
        looksAt: '`cleanup.policy` of the topic',
        because:
          'a compacted log forgets single records: invalidations are lost (I2), and the start of an instance fails with KAFKA_TOPIC_INVALID',
      },
      (policy) => (policy.includes('compact') ? broken(`it is ${policy}`) : ok(`it is ${policy}`)),
    ),
    'kafka-retention': onSetting(
      'retention.ms',
      'retention.ms=3600000',
      {
        looksAt: '`retention.ms` of the topic',
        because: 'what is removed before everybody has read it is a gap, and each gap empties L1',
      },
      (text, { outboxRetentionMs }) => {
        const ms = Number(text)
        if (ms < 0) return ok('records are kept for ever')
        const found = `records are kept for ${secondsText(ms / 1_000)}`
        if (ms >= outboxRetentionMs) return ok(found)
        return broken(
          `${found}, and the outbox has them for ${secondsText(outboxRetentionMs / 1_000)}`,
        )
      },
    ),
    'kafka-unclean-election': onSetting(
      'unclean.leader.election.enable',
      'unclean.leader.election.enable=false',
      {
        looksAt: '`unclean.leader.election.enable` of the topic',
        because:
          'a leader that lacks what was confirmed may be chosen: invalidations are lost (I2)',
      },
      (enabled, { brokers }) => {
        if (enabled !== 'true') return ok('no leader is chosen that lacks records')
        const found = 'a leader may be chosen that lacks records'
        return brokers > 1 ? broken(found) : warning(found)
      },
    ),
    'kafka-min-insync': onSetting(
      'min.insync.replicas',
      `min.insync.replicas=${wantedInSync}`,
      {
        looksAt: '`min.insync.replicas` of the topic, where there are several brokers',
        because: outboxHasIt,
      },
      (text, { brokers }) => {
        const found = `${countText(Number(text), 'copy', 'copies')} confirm a record`
        if (brokers === 1) return ok(`${found}; there is one broker`)
        return Number(text) < wantedInSync ? broken(found) : ok(found)
      },
    ),
    'kafka-replication': on(
      'log',
      {
        looksAt: 'how many copies the partitions of the topic have, and how many are in sync',
        because: outboxHasIt,
        remedy: `have ${wantedCopies} copies (kafka-reassign-partitions.sh, or \`replicationFactor: ${wantedCopies}\` and a new topic), and bring back the brokers that hold them`,
      },
      ({ partitions }) =>
        partitions === undefined ? skipped('the topic is not there') : copies(partitions),
    ),
    'kafka-dead-letters': on(
      'deadLetters',
      {
        looksAt: 'whether the topic of the dead letters is there, and has a leader',
        because: 'an event that can’t be applied has nowhere else to go',
        remedy: 'bring the brokers back that hold its copies',
      },
      ({ topic, isBarred, partitions }) => {
        if (isBarred) return warning(`this user may not use topic ${quoted(topic)}`, rights)
        if (partitions === undefined) return ok(`${quoted(topic)} is made when it is needed`)
        return partitions.every(({ hasLeader }) => hasLeader)
          ? ok(`topic ${quoted(topic)}`)
          : broken(`topic ${quoted(topic)} has no leader`)
      },
    ),
  },
}

function copies(partitions: readonly PartitionFacts[]): Verdict {
  const least = Math.min(...partitions.map((one) => one.copies))
  const behind = partitions.filter((one) => one.inSync < one.copies).length
  const found = `${countText(least, 'copy', 'copies')} of each partition`
  if (behind > 0) return warning(`${found}, and of ${behind} some are not in sync`)
  return least < 2 ? warning(found) : ok(`${found}, in sync`)
}
