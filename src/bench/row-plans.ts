/** The rows of the bench: their names stay, so that two runs can be compared. */

export type Target = { readonly atLeast: number } | { readonly atMost: number }

export interface RowPlan {
  readonly unit: string
  /** What the ratio is to, or how the value was come by. */
  readonly against: string
  /** Of the ratio where there is one, else of the value. */
  readonly target?: Target
  /** `throughput`: ours ÷ theirs, more is better. `time`: ours ÷ theirs, less is better. */
  readonly ratio?: 'throughput' | 'time'
  readonly needsRedis?: true
  readonly needsKafka?: true
  /** It takes so long that it is measured only where it is asked for by a name that begins so. */
  readonly onlyBy?: string
}

const l1 = { unit: 'gets/s', ratio: 'throughput' } as const
const l2 = { unit: 'gets/s', ratio: 'throughput', needsRedis: true } as const
const redisTime = { unit: 'µs', ratio: 'time', needsRedis: true } as const

const awaitedMap = (ids: string): string => `await map.get(id) of a bare Map, 10,000 ids, ${ids}`
const bareGets = (concurrency: number): string =>
  `JSON.parse(await redis.get(key)), ${concurrency} at a time; ours decodes and fills L1, which holds a tenth`
const withoutBarrier = (concurrency: number): string =>
  `the same get of a cache whose lookups leave the barrier in Redis out, ${concurrency} at a time`
const withoutBreaker = (concurrency: number): string =>
  `the same get of a cache whose lookups have no breaker and no deadline, ${concurrency} at a time`
const bareMget = 'redis.mget of 100 keys, each JSON.parsed into a Map; one call at a time'
const bareSets = (concurrency: number, how: string): string =>
  `redis.set(key, payload, 'PX', ttl), ${concurrency} at a time; ours is L2's fill under a lease that it has, ${how}`
const oneCall = 'one call a fill'

const kafkaNeeds = { needsRedis: true, needsKafka: true } as const
const drain = { needsRedis: true, onlyBy: 'relay.drain' } as const
const longBuild = { needsRedis: true, onlyBy: 'bloom.long' } as const

type Needs = Pick<RowPlan, 'needsRedis' | 'needsKafka'>

/** From the COMMIT's return until three other processes have dropped the value from L1. */
function propagation<Name extends string>(
  name: Name,
  how: string,
  needs: Needs,
  p99AtMost: number | undefined,
) {
  const plan = (what: string): RowPlan => ({
    unit: 'ms',
    ...needs,
    against: `${what} from COMMIT until the last of 3 other processes has dropped the value from L1: ${how}`,
  })
  return {
    [`propagation.${name}.p50`]: plan('half of the writes take no longer'),
    [`propagation.${name}.p99`]: {
      ...plan('99 % of the writes take no longer'),
      ...(p99AtMost !== undefined && { target: { atMost: p99AtMost } }),
    },
    [`propagation.${name}.p999`]: plan('99.9 % of the writes take no longer'),
  } as Record<`propagation.${Name}.${'p50' | 'p99' | 'p999'}`, RowPlan>
}

const beside = (name: string, needs: Needs): RowPlan => ({
  unit: 'ms',
  ...needs,
  against: `as propagation.${name}.p99, with a transaction open elsewhere from before the first write until after the last`,
})

export const rowPlans = {
  'l1.get.uniform': { ...l1, against: awaitedMap('uniform'), target: { atLeast: 0.65 } },
  'l1.get.zipf': { ...l1, against: awaitedMap('Zipf 0.99'), target: { atLeast: 0.75 } },
  'l1.peek': {
    unit: 'peeks/s',
    ratio: 'throughput',
    against: 'map.get(id) of a bare Map, 10,000 ids, uniform',
    target: { atLeast: 0.4 },
  },
  'l1.get.uniform-2kb': { ...l1, against: awaitedMap('uniform') },
  'l1.get.zipf-2kb': { ...l1, against: awaitedMap('Zipf 0.99') },
  'l1.heap': {
    unit: 'bytes',
    against:
      'what 10,000 entries add to the heap and its buffers, less what a Map of the same values does; filled from L2 where there is one',
    target: { atMost: 117 },
  },
  'l2.hit.c1': { ...l2, against: bareGets(1), target: { atLeast: 0.75 } },
  'l2.hit.c32': { ...l2, against: bareGets(32), target: { atLeast: 1 } },
  'l2.hit.c256': { ...l2, against: bareGets(256), target: { atLeast: 1.8 } },
  'l2.hit.c1-2kb': { ...l2, against: bareGets(1) },
  'l2.hit.c32-2kb': { ...l2, against: bareGets(32) },
  'l2.hit.c256-2kb': { ...l2, against: bareGets(256) },
  'l2.hit.barrier.c1': { ...l2, against: withoutBarrier(1), target: { atLeast: 0.9 } },
  'l2.hit.barrier.c32': { ...l2, against: withoutBarrier(32), target: { atLeast: 0.9 } },
  'l2.hit.breaker.c1': { ...l2, against: withoutBreaker(1), target: { atLeast: 0.95 } },
  'l2.hit.breaker.c32': { ...l2, against: withoutBreaker(32), target: { atLeast: 0.95 } },
  'l2.hit.commands': {
    unit: 'commands',
    against: 'commands sent for one hit, one get at a time',
    target: { atMost: 1 },
    needsRedis: true,
  },
  'l2.envelope': {
    unit: 'bytes',
    against: 'bytes in Redis beside the payload, without 4 for each transaction open in S',
    target: { atMost: 44 },
    needsRedis: true,
  },
  'get-many.100': { ...redisTime, against: bareMget, target: { atMost: 2.2 } },
  'get-many.100-2kb': { ...redisTime, against: bareMget },
  'get-many.commands': {
    unit: 'commands',
    against: 'commands sent for a getMany of 100 that all lie in L2 and not in L1',
    target: { atMost: 1 },
    needsRedis: true,
  },
  'fill.c1': { ...redisTime, against: bareSets(1, oneCall), target: { atMost: 1.3 } },
  'fill.c32': {
    ...redisTime,
    against: bareSets(32, 'those of one turn in one call, as 32 gets that miss together send them'),
    target: { atMost: 1.1 },
  },
  'fill.c32-apart': { ...redisTime, against: bareSets(32, oneCall) },
  'fill.c1-2kb': { ...redisTime, against: bareSets(1, oneCall) },
  'write.c1': {
    unit: 'µs',
    ratio: 'time',
    needsRedis: true,
    against: 'knex.transaction with the same update, out of the same pool; one at a time',
    target: { atMost: 1.5 },
  },
  'trigger.one': {
    unit: 'µs',
    ratio: 'time',
    against: 'the same update of one row on a table without triggers; one at a time',
    target: { atMost: 1.5 },
  },
  'trigger.bulk': {
    unit: 'µs',
    ratio: 'time',
    against: 'the same update of all 10,000 rows in one statement, on a table without triggers',
    target: { atMost: 1.5 },
  },
  ...propagation('fast', 'over the fast plane, all is well', { needsRedis: true }, 5),
  'propagation.fast.p99-beside': {
    ...beside('fast', { needsRedis: true }),
    target: { atMost: 5 },
  },
  ...propagation(
    'tail',
    'by the tails of the outbox alone, without Redis: NOTIFY wakes them',
    {},
    50,
  ),
  'propagation.tail.p99-beside': { ...beside('tail', {}), target: { atMost: 50 } },
  ...propagation('kafka', 'by Kafka alone, the fast plane cut off', kafkaNeeds, 50),
  'propagation.kafka.p99-beside': { ...beside('kafka', kafkaNeeds), target: { atMost: 50 } },
  ...propagation(
    'cut',
    'by the tails alone, the fast plane cut off under a Redis that is well',
    { needsRedis: true },
    undefined,
  ),
  'delayed-delete.cost': {
    unit: '%',
    needsRedis: true,
    against:
      'of the reads, hits lost to the delayed delete: less than the same traffic has without',
    target: { atMost: 0.1 },
  },
  'delayed-delete.plain': {
    unit: '%',
    needsRedis: true,
    against: 'of the reads, hits lost to a second DEL of the value as late, in the same traffic',
  },
  'relay.throughput.l2': {
    unit: 'rows/s',
    needsRedis: true,
    against: 'rows of SQL that one relay tells Redis of and marks, its process on one core',
    target: { atLeast: 5_000 },
  },
  'relay.throughput.log': {
    unit: 'rows/s',
    ...kafkaNeeds,
    against: 'the same, told to Redis and published to Kafka',
    target: { atLeast: 5_000 },
  },
  'relay.drain.rate': {
    unit: 'rows/s',
    ...drain,
    against: '1,000,000 rows that lay in the outbox when the relay came',
  },
  'relay.drain.heap': {
    unit: 'MB',
    ...drain,
    against: 'the most that the heap of its process grew by meanwhile',
    target: { atMost: 100 },
  },
  'relay.drain.rss': {
    unit: 'MB',
    ...drain,
    against: 'the most that the memory of its process grew by meanwhile',
    target: { atMost: 200 },
  },
  'stampede.process.loads': {
    unit: 'calls',
    against: 'calls of the loader for 1,000 gets of a cold id in one process; the worst round',
    target: { atMost: 1 },
  },
  'stampede.process.ids': {
    unit: 'ids',
    against: 'ids that the loader was asked for by those 1,000 gets; the worst round',
    target: { atMost: 1 },
  },
  'stampede.processes.loads': {
    unit: 'calls',
    needsRedis: true,
    against: 'calls of the loader for 1,000 gets of a cold id by 4 processes; the worst round',
    target: { atMost: 1 },
  },
  'stampede.processes.wait': {
    unit: 'ms',
    needsRedis: true,
    against: 'until the last of those gets is answered, beyond the load',
    target: { atMost: 100 },
  },
  'stampede.owner-killed.loads': {
    unit: 'calls',
    needsRedis: true,
    against: 'as above, with the process that loads killed while it does; the worst round',
    target: { atMost: 2 },
  },
  'stampede.owner-killed.wait': {
    unit: 'ms',
    needsRedis: true,
    against: 'from the kill until the last get of the others is answered, beyond one load',
    target: { atMost: 100 },
  },
  'stampede.eight.loads': {
    unit: 'calls',
    needsRedis: true,
    against:
      'calls of the loader for 1,000 gets of a cold id by each of 8 processes; the worst round',
    target: { atMost: 1 },
  },
  'stampede.eight.wait': {
    unit: 'ms',
    needsRedis: true,
    against: 'until 99 % of those gets are answered, beyond the load',
    target: { atMost: 100 },
  },
  'stampede.eight-killed.loads': {
    unit: 'calls',
    needsRedis: true,
    against: 'as above, with the process that loads killed while it does; the worst round',
    target: { atMost: 2 },
  },
  'stampede.eight-killed.wait': {
    unit: 'ms',
    needsRedis: true,
    against: 'from the kill until 99 % of the gets of the others are answered, beyond one load',
    target: { atMost: 100 },
  },
  'stampede.distinct.ids': {
    unit: 'ids',
    needsRedis: true,
    against:
      'ids that the loader was asked for by each of 100,000 cold ids that 2 processes get at once',
    target: { atMost: 1 },
  },
  'attack.loads': {
    unit: 'ids',
    needsRedis: true,
    against:
      'ids that the source was asked for by each get of an absent id, 10,000 a second, in another process and in this one',
    target: { atMost: 0.0011 },
  },
  'attack.p99': {
    ...redisTime,
    against: 'P99 of the normal reads of one process, without the attack on another one',
    target: { atMost: 1.5 },
  },
  'attack.p99-inside': {
    ...redisTime,
    against: 'P99 of the normal reads of one process, without the attack on this very one',
    target: { atMost: 1.5 },
  },
  'bloom.rate': {
    unit: 'of 1',
    needsRedis: true,
    against: 'false positives among gets of absent ids, by the rate that was asked for (0.1 %)',
  },
  'bloom.rate-off': {
    unit: '%',
    needsRedis: true,
    against: 'by which that rate is off, in either direction',
    target: { atMost: 10 },
  },
  'bloom.bits': {
    unit: 'bits',
    needsRedis: true,
    against: 'bits in Redis for each id that the filter is made for',
    target: { atMost: 16 },
  },
  'bloom.check': {
    unit: 'µs',
    needsRedis: true,
    against: 'a look into the copy of this process, half of the ids there and half not',
    target: { atMost: 1 },
  },
  'bloom.commands': {
    unit: 'commands',
    needsRedis: true,
    against: 'commands sent for the get of an absent id that the filter refuses',
    target: { atMost: 1 },
  },
  'bloom.false-negatives': {
    unit: 'ids',
    needsRedis: true,
    against:
      'ids of 1,000,000 that the filter lacks after builds beside inserts and deletes: undisturbed, with all keys dropped, with a process that comes, with the builder killed',
    target: { atMost: 0 },
  },
  'bloom.rebuild': {
    unit: 'µs',
    needsRedis: true,
    against: 'from the beginning of a build to its end, by the ids; inserts and deletes meanwhile',
    target: { atMost: 6 },
  },
  'bloom.rebuild-cpu': {
    unit: 'µs',
    needsRedis: true,
    against: 'what the process of the builder takes of a core meanwhile, by the ids',
  },
  'bloom.killed.kept': {
    unit: '%',
    needsRedis: true,
    against: 'of the ids, those that the next builder need not scan when one is killed half-way',
    target: { atLeast: 50 },
  },
  'bloom.long.false-negatives': {
    unit: 'ids',
    ...longBuild,
    against: 'ids of 10,000,000 that the filter lacks, before and after a build beside a storm',
    target: { atMost: 0 },
  },
  'bloom.long.rate-off': {
    unit: '%',
    ...longBuild,
    against: 'by which its rate of false positives is off, in either direction',
    target: { atMost: 10 },
  },
  'bloom.long.bits': {
    unit: 'bits',
    ...longBuild,
    against: 'bits in Redis for each of those ids',
    target: { atMost: 16 },
  },
  'bloom.long.rebuild': {
    unit: 'µs',
    ...longBuild,
    against: 'from the beginning of that build to its end, by the ids',
    target: { atMost: 6 },
  },
  'bloom.long.rebuild-cpu': {
    unit: 'µs',
    ...longBuild,
    against: 'what the process of the builder takes of a core meanwhile, by the ids',
  },
  'avalanche.concurrent': {
    unit: 'loads',
    needsRedis: true,
    against:
      'loads at once in a process whose keys have all gone, under 20 times of what they can do',
    target: { atMost: 8 },
  },
  'avalanche.goodput': {
    unit: '%',
    needsRedis: true,
    against: 'of what the source can do, in the worst half second in which loads had to wait',
    target: { atLeast: 80 },
  },
  'avalanche.hits': {
    unit: '%',
    needsRedis: true,
    against: 'of the hit ratio of before, in the last half second that was looked at',
    target: { atLeast: 95 },
  },
  'avalanche.recovery': {
    unit: 's',
    needsRedis: true,
    against: 'from the loss of all keys until that half second has gone by',
  },
  'hot.spread': {
    unit: 'ms',
    needsRedis: true,
    against:
      'from the first of 20,000 reads a second in one process until 3 others have the key in L1 too; the worst round',
    target: { atMost: 250 },
  },
  'hot.lookups': {
    unit: 'a second',
    needsRedis: true,
    against:
      'times that an instance asks Redis for it while 4 read it 5,000 times a second each and it lives 2 s; the worst one',
    target: { atMost: 2 },
  },
} as const satisfies Record<string, RowPlan>

export type RowName = keyof typeof rowPlans

export const rowNames = Object.keys(rowPlans) as readonly RowName[]

export function planOf(name: RowName): RowPlan {
  return rowPlans[name]
}
