/** What Lockstep itself keeps in PostgreSQL and Redis about a namespace. */
import type { Answers, PostgresFacts, RedisFacts } from '../model/doctor.ts'
import { broken, type Check, checksOn, ok, skipped, type Verdict, warning } from './doctor.ts'
import { countText, nearestName, quoted, secondsText } from './doctor-words.ts'

export type LockstepFacts = Pick<PostgresFacts, 'namespace' | 'flags' | 'database'> &
  Pick<RedisFacts, 'claim'>

const on = checksOn<LockstepFacts>()

/** Each says that it lives every 10 s. */
const silentSeconds = 30
const lateSeconds = 5
const longSeconds = 60

export const lockstepChecks: Readonly<Record<string, Check<LockstepFacts>>> = {
  'lockstep-namespace': on(
    'namespace',
    {
      looksAt: 'whether the namespace is one that some cache has had',
      because: 'a command for a namespace that nobody has does nothing',
      remedy:
        'set LOCKSTEP_NAMESPACE to the `namespace` of the instances; a new one is known from the first start on',
    },
    ({ isKnown, others }, { namespace }) => {
      if (isKnown || others.length === 0) {
        return ok(`namespace ${quoted(namespace)}${isKnown ? '' : ', not started yet'}`)
      }
      const nearest = nearestName(namespace, others)
      return warning(
        `no cache has had the namespace ${quoted(namespace)}; there ${others.length === 1 ? 'is' : 'are'} ${others.map(quoted).join(', ')}`,
        nearest === undefined ? undefined : `set LOCKSTEP_NAMESPACE=${nearest}, if that is meant`,
      )
    },
  ),
  'lockstep-redis-required': on(
    'namespace',
    {
      looksAt: 'whether the instances keep the namespace in Redis, and `REDIS_URL` is set',
      because:
        'a process without it could not drop what lies in Redis: its start fails with REDIS_REQUIRED',
      remedy: 'set REDIS_URL to the Redis of the instances, or take a namespace of its own',
    },
    ({ hasL2 }, { hasRedis }) => {
      if (hasL2 && !hasRedis)
        return broken('other instances keep it in Redis, and REDIS_URL is not set')
      return ok(hasL2 ? 'it is kept in Redis' : 'no instance has kept it in Redis yet')
    },
  ),
  'lockstep-plane': on(
    'namespace',
    {
      looksAt:
        'whether the instances hear of writes by the plane that the settings name (outbox, or a topic of Kafka)',
      because:
        'whoever publishes on another plane is heard by nobody: its start fails with PLANE_MISMATCH',
      remedy:
        'give this process the same Kafka, topic and partitions as the instances, or change the plane of them all (docs/kafka.md)',
    },
    ({ plane: recorded }, { plane: wanted }) => {
      if (wanted === undefined) return skipped('the settings of Kafka won’t do')
      if (recorded === undefined) return ok(`not settled yet: ${planeText(wanted)}`)
      if (recorded === wanted) return ok(planeText(recorded))
      return broken(
        `the namespace is on ${planeText(recorded)}, and these settings say ${planeText(wanted)}`,
        planeRemedy(recorded),
      )
    },
  ),
  'lockstep-database': {
    looksAt: 'whether the namespace in Redis belongs to the database at `DATABASE_URL`',
    because:
      'instances of two databases would drop each other’s values: the start fails with NAMESPACE_TAKEN',
    remedy: 'take another namespace, or stop the instances of the other database and wait 30 s',
    judge: ({ claim, database }) => [claimVerdict(claim, database)],
  },
  'lockstep-instances': on(
    'namespace',
    {
      looksAt: 'which instances run, by their own word',
      because:
        'a write with `wait: everywhere` waits for one that has ended without a word, up to 10 s',
      remedy: 'nothing: it is forgotten 10 min after its last word; end instances with close()',
    },
    ({ instances }) => {
      const silent = instances.filter((one) => one.silentSeconds > silentSeconds)
      const found = `${countText(instances.length - silent.length, 'instance')} run`
      if (silent.length === 0) return ok(found)
      const names = silent.map((one) => `${quoted(one.name)} for ${secondsText(one.silentSeconds)}`)
      return warning(`${found}; silent: ${names.join(', ')}`)
    },
  ),
  'lockstep-relay': on(
    'namespace',
    {
      looksAt: 'whether one of the instances relays, by its lock',
      because:
        'without it nothing in Redis or Kafka is proven, and what writers could not tell stays untold',
      remedy: 'look into the logs of the instances; or start `lockstep serve`',
    },
    ({ instances, isRelayed, hasL2, plane }) => {
      if (isRelayed) return ok('an instance relays')
      const isRun = instances.some((one) => one.silentSeconds <= silentSeconds)
      if (!isRun) return ok('no instance runs, and none relays')
      if (!hasL2 && plane === 'outbox') return ok('there is nothing to relay to')
      return broken('instances run, and none relays')
    },
  ),
  'lockstep-outbox': on(
    'namespace',
    {
      looksAt: 'how many writes Redis and Kafka have not been told of, and for how long',
      because:
        'until they are told, what lies in Redis is not proven, and L1 on the plane of Kafka neither',
      remedy:
        'see whether an instance relays, and whether Redis and Kafka answer; `lockstep serve` relays too',
    },
    ({ owedToRedis, owedToKafka }) => {
      const owed = [
        ['Redis', owedToRedis],
        ['Kafka', owedToKafka],
      ] as const
      const late = owed.filter(([, one]) => one.rows > 0 && one.oldestSeconds > lateSeconds)
      if (late.length === 0) return ok('nothing waits')
      const found = late.map(
        ([place, { rows, oldestSeconds }]) =>
          `${countText(rows, 'write')} that ${place} has not been told of, since ${secondsText(oldestSeconds)}`,
      )
      const isLong = late.some(([, one]) => one.oldestSeconds > longSeconds)
      return (isLong ? broken : warning)(found.join('; '))
    },
  ),
  'lockstep-flags': on(
    'flags',
    {
      looksAt: 'flags that are set',
      because: 'what a flag switches off is not done, on purpose (docs/flags.md)',
      remedy: '`lockstep flags unset <flag>` when it is no longer needed; it ends by itself',
    },
    (flags) =>
      flags.length === 0
        ? ok('none is set')
        : flags.map(({ flag, scope, by, author, reason, until }) =>
            warning(
              `${flag} ${scope}, until ${until}, by ${by} ${quoted(author)}: ${quoted(reason)}`,
            ),
          ),
  ),
  'lockstep-overrides': {
    looksAt: 'flags that processes have by `LOCKSTEP_FLAGS` or `flags.override`',
    because: 'nobody unsets them: they last as long as their process',
    remedy: 'take them out of its environment and start it anew',
    judge: ({ namespace }, { overrides }) => {
      const own = overrides.length === 0 ? [] : [`LOCKSTEP_FLAGS here: ${overrides.join(', ')}`]
      const others = (namespace.isKnown ? namespace.value.instances : [])
        .filter((one) => one.overrides.length > 0)
        .map((one) => `${quoted(one.name)}: ${one.overrides.join(', ')}`)
      const all = [...own, ...others]
      return [all.length === 0 ? ok('none') : warning(all.join('; '))]
    },
  },
}

function planeText(plane: string): string {
  const [, topic, partitions] = /^kafka:(.*):(\d+)$/.exec(plane) ?? []
  if (topic === undefined) return 'the outbox plane (without Kafka)'
  return `the topic ${quoted(topic)} of Kafka with ${countText(Number(partitions), 'partition')}`
}

function planeRemedy(recorded: string): string {
  const [, topic, partitions] = /^kafka:(.*):(\d+)$/.exec(recorded) ?? []
  const same =
    topic === undefined
      ? 'unset KAFKA_BROKERS'
      : `set KAFKA_BROKERS, LOCKSTEP_KAFKA_TOPIC=${topic} and LOCKSTEP_KAFKA_PARTITIONS=${partitions}`
  return `${same}, as the instances have it; or change the plane of them all (docs/kafka.md)`
}

function claimVerdict(
  claim: Answers<LockstepFacts>['claim'],
  database: Answers<LockstepFacts>['database'],
): Verdict {
  for (const answer of [claim, database]) {
    if (!answer.isKnown) return skipped(`it can't be told: ${answer.why}`)
  }
  const theirs = claim.isKnown ? claim.value : undefined
  if (theirs === undefined) return ok('no instance claims it now')
  return database.isKnown && theirs === database.value
    ? ok('it belongs to this database')
    : broken('instances with another database use the namespace in this Redis')
}
