/** What the environment says, before any service is asked. Values stay out of it: they may be secrets. */
import type { Answer } from '../model/doctor.ts'
import { broken, type Check, checksOn, ok, skipped, type Verdict, warning } from './doctor.ts'
import { nearestName } from './doctor-words.ts'

/** `scheme`: as `redis:`; `undefined`: it is no URL. */
export interface UrlFacts {
  readonly scheme: string | undefined
  /** Its user and password are written as a URL wants them. */
  readonly isDecodable: boolean
}

export interface ConfigFacts {
  /** Why each value that won't do won't. */
  readonly wrong: readonly string[]
  readonly unknown: readonly string[]
  readonly known: readonly string[]
  /** Those that are set and have no effect. */
  readonly idle: readonly string[]
  readonly databaseUrl: UrlFacts | undefined
  readonly redisUrl: UrlFacts | undefined
  readonly prometheusUrl: UrlFacts | undefined
  /** `undefined`: there is none; '' when it will do. */
  readonly kafka: string | undefined
}

interface UrlRule {
  readonly variable: string
  readonly schemes: readonly string[]
  readonly example: string
}

const on = checksOn<ConfigFacts>()

const rules = {
  databaseUrl: {
    variable: 'DATABASE_URL',
    schemes: ['postgres:', 'postgresql:'],
    example: 'postgres://user:password@host:5432/database',
  },
  redisUrl: {
    variable: 'REDIS_URL',
    schemes: ['redis:', 'rediss:'],
    example: 'redis://user:password@host:6379/0',
  },
  prometheusUrl: {
    variable: 'PROMETHEUS_URL',
    schemes: ['http:', 'https:'],
    example: 'http://user:password@prometheus:9090',
  },
} satisfies Record<string, UrlRule>

export const configChecks: Readonly<Record<string, Check<ConfigFacts>>> = {
  'config-values': on(
    'wrong',
    {
      looksAt: 'whether each variable has a value that will do',
      because: 'every command that reads it ends with OPTION_INVALID',
      remedy: 'set what would do, or unset it: docs/configuration.md has all of them',
    },
    (wrong) => (wrong.length === 0 ? ok('all values will do') : wrong.map((one) => broken(one))),
  ),
  'config-names': {
    looksAt: 'variables that begin with `LOCKSTEP_` and are not known, or are nearly one that is',
    because: 'nobody reads them: what they were to say is not so',
    remedy: 'write its name as docs/configuration.md has it, or unset it',
    judge: ({ unknown, known }) => namesVerdict(unknown, known),
  },
  'config-idle': on(
    'idle',
    {
      looksAt: 'variables about Kafka while `KAFKA_BROKERS` is not set',
      because: 'they have no effect: there is no Kafka',
      remedy: 'set KAFKA_BROKERS=host:9092, or unset them',
    },
    (idle) =>
      idle.length === 0
        ? ok('none')
        : warning(`without KAFKA_BROKERS there is no use for ${idle.join(', ')}`),
  ),
  'config-database-url': on(
    'databaseUrl',
    {
      looksAt: 'whether `DATABASE_URL` is set, and a URL of PostgreSQL',
      because: 'there is no cache without its source',
      remedy: `set DATABASE_URL=${rules.databaseUrl.example}`,
    },
    (url) =>
      url === undefined ? broken('DATABASE_URL is not set') : urlVerdict(url, rules.databaseUrl),
  ),
  'config-redis-url': on(
    'redisUrl',
    {
      looksAt: 'whether `REDIS_URL` is a URL of Redis, where it is set',
      because: 'without Redis each process loads what it misses itself',
      remedy: `set REDIS_URL=${rules.redisUrl.example}`,
    },
    (url) =>
      url === undefined ? skipped('REDIS_URL is not set') : urlVerdict(url, rules.redisUrl),
  ),
  'config-kafka': on(
    'kafka',
    {
      looksAt: 'whether brokers, topic and partitions will do, where `KAFKA_BROKERS` is set',
      because: 'without Kafka every instance asks the outbox',
      remedy: 'set KAFKA_BROKERS=host:9092,host:9092; docs/kafka.md has the rest',
    },
    (problem) => {
      if (problem === undefined) return skipped('KAFKA_BROKERS is not set')
      return problem === '' ? ok('KAFKA_BROKERS, topic and partitions will do') : broken(problem)
    },
  ),
  'config-prometheus-url': on(
    'prometheusUrl',
    {
      looksAt: 'whether `PROMETHEUS_URL` is an HTTP URL, where it is set',
      because: 'without Prometheus breakers go by what their own process sees',
      remedy: `set PROMETHEUS_URL=${rules.prometheusUrl.example}`,
    },
    (url) =>
      url === undefined
        ? skipped('PROMETHEUS_URL is not set')
        : urlVerdict(url, rules.prometheusUrl),
  ),
}

/** The URL, unless its check would say that it is broken. */
export function usableUrl(name: keyof typeof rules, text: string | undefined): string | undefined {
  const facts = urlFacts(text)
  return facts && urlVerdict(facts, rules[name]).state === 'ok' ? text : undefined
}

/** A URL without what it says. */
export function urlFacts(text: string | undefined): UrlFacts | undefined {
  if (text === undefined) return undefined
  if (!URL.canParse(text)) return { scheme: undefined, isDecodable: true }
  const { protocol, username, password } = new URL(text)
  try {
    decodeURIComponent(username + password)
  } catch {
    return { scheme: protocol, isDecodable: false }
  }
  return { scheme: protocol, isDecodable: true }
}

const escaping =
  'in user and password, characters other than letters, digits and -._~ are written as %XX (a # as %23, a / as %2F)'

function urlVerdict({ scheme, isDecodable }: UrlFacts, rule: UrlRule): Verdict {
  const { variable, schemes, example } = rule
  if (scheme === undefined) {
    return broken(`${variable} is no URL`, `set ${variable}=${example}; ${escaping}`)
  }
  if (!schemes.includes(scheme)) {
    return broken(
      `${variable} begins with "${scheme}", where ${schemes.map((one) => `"${one}"`).join(' or ')} would do`,
    )
  }
  if (!isDecodable) return broken(`user or password in ${variable} can’t be read`, escaping)
  return ok(`${variable} is a URL that begins with ${scheme}//`)
}

function namesVerdict(
  unknown: Answer<readonly string[]>,
  known: Answer<readonly string[]>,
): readonly Verdict[] {
  const names = unknown.isKnown ? unknown.value : []
  if (names.length === 0) return [ok('all names are known')]
  return names.map((name) => {
    const nearest = nearestName(name, known.isKnown ? known.value : [])
    if (nearest === undefined) return warning(`${name} is not known`)
    return warning(`${name} is not known; did you mean ${nearest}?`, `set ${nearest} instead of it`)
  })
}
