import type { RedisFacts, RedisServerFacts } from '../model/doctor.ts'
import { broken, checksOn, ok, type PlaceChecks, skipped, type Verdict, warning } from './doctor.ts'
import { bytesText, clockVerdict, countText } from './doctor-words.ts'

const on = checksOn<RedisFacts>()

const oldestMajor = 7
const nearlyFull = 0.9
/** Resident memory beside what is used; below that many bytes nobody would miss them. */
const fragmented = { ratio: 1.5, leastBytes: 256 * 1024 ** 2 }
/** Messages of a second in which all instances write as fast as they can. */
const leastPubsubBytes = 1024 ** 2

export const redisChecks: PlaceChecks<RedisFacts> = {
  place: 'redis',
  reach: {
    variable: 'REDIS_URL',
    looksAt: 'whether a connection can be opened at `REDIS_URL`',
    because:
      'without Redis each process loads what it misses itself, and writes return `fenced: false`',
    remedy: 'correct REDIS_URL, redis://user:password@host:6379/0, or mend the server',
    remedies: {
      tls: 'begin REDIS_URL with rediss:// where the server speaks TLS, and with redis:// where it does not; trust its certificate with NODE_EXTRA_CA_CERTS=/path/to/ca.pem',
      silent:
        'look whether it hangs, and whether a firewall drops what is sent to it; where it speaks no TLS, begin REDIS_URL with redis://',
      cut: 'look into its log (protected-mode, bind, maxclients); where it speaks TLS begin REDIS_URL with rediss://',
      database: 'correct the number at the end of REDIS_URL, or raise `databases`',
    },
  },
  checks: {
    'redis-version': on(
      'server',
      {
        looksAt: 'the version of the server',
        because:
          'before 7.0 scripts have no flags, which keep invalidations going when memory is full',
        remedy: 'upgrade to Redis 7.0 or newer',
      },
      ({ version }) =>
        Number.parseInt(version, 10) < oldestMajor
          ? broken(`version ${version}`)
          : ok(`version ${version}`),
    ),
    'redis-mode': on(
      'server',
      {
        looksAt: 'whether it is what a URL can name: one server, no node of a cluster, no Sentinel',
        because:
          'a node of a cluster answers for its own slots alone, and Sentinel for no key at all',
        remedy:
          'give the instances `redis: { cluster: [{ host, port }] }`, or `{ sentinels, name }`; the commands, which know REDIS_URL alone, then do without Redis',
      },
      ({ mode }) =>
        mode === 'standalone'
          ? ok('one server')
          : broken(mode === 'cluster' ? 'it is a node of a cluster' : `it is ${mode}`),
    ),
    'redis-cluster': on(
      'cluster',
      {
        looksAt: '`cluster_state`, where it is a cluster',
        because: 'while the state is not ok, nodes answer nothing',
        remedy:
          'bring the missing nodes back (`redis-cli --cluster check host:port`), and set cluster-require-full-coverage no',
      },
      ({ state }) => {
        if (state === undefined) return skipped('it is no cluster')
        return state === 'ok' ? ok('the cluster is ok') : broken(`cluster_state is ${state}`)
      },
    ),
    'redis-primary': on(
      'server',
      {
        looksAt: 'whether it is a primary, and has loaded its data',
        because: 'a replica takes neither values nor invalidations (READONLY)',
        remedy: 'name the primary in REDIS_URL, or `REPLICAOF NO ONE` if it is to be one',
      },
      ({ isReplica, isLoading }) => {
        if (isLoading) {
          return broken('it is loading its data', 'wait until it has; a cache needs no persistence')
        }
        return isReplica ? broken('it is a replica') : ok('a primary')
      },
    ),
    'redis-rights': on(
      'rights',
      {
        looksAt: 'whether the user may use each command on keys and the channel of the namespace',
        because:
          'the start of an instance fails with REDIS_REFUSED, or the call that needs it does',
        remedy: 'give the user the rights of docs/redis.md',
      },
      ({ denied }, { namespace }) =>
        denied.length === 0
          ? ok('the user has what it needs')
          : broken(
              `the user may not use ${denied.join(', ')}`,
              `ACL SETUSER <user> ~${namespace}:* &${namespace}:bus ${denied.map((one) => `+${one.toLowerCase()}`).join(' ')}`,
            ),
    ),
    'redis-writable': on(
      'write',
      {
        looksAt: 'whether a script that writes (here: nothing) is run',
        because: 'values are filled and invalidated by such scripts',
        remedy: 'do what it says; `INFO persistence` and `INFO replication` have more',
      },
      ({ refusal }) => (refusal === undefined ? ok('scripts may write') : refusedWrite(refusal)),
    ),
    'redis-limit': on(
      'server',
      {
        looksAt: 'whether `maxmemory` is set',
        because: 'without it a cache grows until the machine has no memory, and Redis is killed',
        remedy:
          'CONFIG SET maxmemory 1gb, CONFIG SET maxmemory-policy allkeys-lru, and the same in redis.conf',
      },
      ({ mostBytes, policy }) =>
        mostBytes === 0
          ? warning('maxmemory is not set')
          : ok(`maxmemory is ${bytesText(mostBytes)}, with ${policy}`),
    ),
    'redis-full': on(
      'server',
      {
        looksAt: 'with `noeviction`: how much room is left',
        because:
          'when it is full, fills are refused and each process loads for itself; invalidations still get through',
        remedy:
          'raise maxmemory, or CONFIG SET maxmemory-policy allkeys-lru (docs/redis.md has what that costs)',
      },
      fullness,
    ),
    'redis-fragmentation': on(
      'server',
      {
        looksAt: 'memory of the process beside what is used',
        because: 'the machine runs out of memory before maxmemory is reached',
        remedy: 'CONFIG SET activedefrag yes, or restart it: the cache comes back by itself',
      },
      ({ usedBytes, residentBytes }) => {
        const found = `${bytesText(residentBytes)} of memory for ${bytesText(usedBytes)} of data`
        const isFragmented =
          residentBytes > fragmented.ratio * usedBytes &&
          residentBytes - usedBytes > fragmented.leastBytes
        return isFragmented ? warning(found) : ok(found)
      },
    ),
    'redis-clients': on(
      'server',
      {
        looksAt: 'how many connections are left below `maxclients`',
        because: 'an instance takes two; one that gets none has no Redis',
        remedy: 'CONFIG SET maxclients, or end who leaves connections open (`CLIENT LIST`)',
      },
      ({ clients, mostClients }) => {
        if (mostClients === 0) return skipped('it does not say how many it takes')
        const found = `${clients} of ${mostClients} connections are in use`
        return clients >= nearlyFull * mostClients ? warning(found) : ok(found)
      },
    ),
    'redis-min-replicas': on(
      'server',
      {
        looksAt: '`min-replicas-to-write`',
        because: 'a primary that is cut off from its replicas takes writes that a failover loses',
        remedy: 'CONFIG SET min-replicas-to-write 1, and the same in redis.conf',
      },
      ({ replicas, needsReplicas }) => {
        const found = `${countText(replicas, 'replica')}, and a write needs ${needsReplicas ? 'some' : 'none'}`
        return replicas > 0 && !needsReplicas ? warning(found) : ok(found)
      },
    ),
    'redis-pubsub': on(
      'pubsub',
      {
        looksAt: '`client-output-buffer-limit pubsub`',
        because:
          'a listener that is a little late is cut off, and hears of writes by its next poll only',
        remedy: 'CONFIG SET client-output-buffer-limit "pubsub 32mb 8mb 60"',
      },
      ({ hardBytes, softBytes, softSeconds }) => {
        const small = [hardBytes, softBytes].some((one) => one > 0 && one < leastPubsubBytes)
        const found = `${sizeOf(hardBytes)} at once, ${sizeOf(softBytes)} for ${softSeconds} s`
        return small ? warning(found) : ok(found)
      },
    ),
    'redis-clock': on(
      'clock',
      {
        looksAt: 'the clock of the server beside the one of this machine',
        because:
          'values expire by it; each instance measures the difference, and no promise goes by it',
        remedy: 'let both machines have their time from NTP',
      },
      clockVerdict,
    ),
  },
}

const sizeOf = (bytes: number): string => (bytes === 0 ? 'any amount' : bytesText(bytes))

function fullness({ usedBytes, mostBytes, policy }: RedisServerFacts): Verdict {
  if (mostBytes === 0) return skipped('maxmemory is not set')
  if (policy !== 'noeviction') return ok(`${policy} makes room`)
  const share = usedBytes / mostBytes
  const found = `${bytesText(usedBytes)} of ${bytesText(mostBytes)} are used, and nothing is evicted`
  if (share >= 1) return broken(found)
  return share >= nearlyFull ? warning(found) : ok(found)
}

/** By the first word of what it said. */
const writeRemedies: Readonly<Record<string, string>> = {
  READONLY: 'name the primary in REDIS_URL',
  NOREPLICAS: 'bring its replicas back, or CONFIG SET min-replicas-to-write 0',
  MISCONF:
    'mend what `INFO persistence` shows, or CONFIG SET save "" (a cache needs no persistence)',
  OOM: 'raise maxmemory, or CONFIG SET maxmemory-policy allkeys-lru',
  LOADING: 'wait until it has loaded its data',
  BUSY: 'SCRIPT KILL ends the script of somebody that runs for too long',
  NOPERM: 'give the user the rights of docs/redis.md',
}

function refusedWrite(refusal: string): Verdict {
  const [word = ''] = refusal.split(/[\s:]/, 1)
  return broken(`scripts may not write: ${refusal}`, writeRemedies[word])
}
