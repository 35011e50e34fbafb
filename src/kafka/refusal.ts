/** What Kafka says no to, and what only a Kafka that is ill or away says. */
import { LockstepError, messageOf } from '../model/errors.ts'

const refusals = new Set([
  'CLUSTER_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'TOPIC_AUTHORIZATION_FAILED',
  'ILLEGAL_SASL_STATE',
  'INVALID_CONFIG',
  'INVALID_REPLICATION_FACTOR',
  'INVALID_SESSION_TIMEOUT',
  'POLICY_VIOLATION',
  'SASL_AUTHENTICATION_FAILED',
  'SECURITY_DISABLED',
  'UNSUPPORTED_SASL_MECHANISM',
  'UNSUPPORTED_VERSION',
])
const refusalNames = new Set([
  'KafkaJSSASLAuthenticationError',
  'KafkaJSUnsupportedMagicByteInMessageSet',
  'KafkaJSServerDoesNotSupportApiKey',
])
/** Of TLS, what a second try won't change. */
const untrusted = new Set([
  'CERT_HAS_EXPIRED',
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'EPROTO',
  'ERR_SSL_WRONG_VERSION_NUMBER',
  'ERR_TLS_CERT_ALTNAME_INVALID',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
])

const whatWouldDo: Readonly<Record<string, string>> = {
  CLUSTER_AUTHORIZATION_FAILED:
    'the right to Create the topic (or the topic, made beforehand) and, before Kafka 3.0, IdempotentWrite would do',
  GROUP_AUTHORIZATION_FAILED:
    "the rights to Read and Delete groups with the prefix 'lockstep.<namespace>.' would do",
  TOPIC_AUTHORIZATION_FAILED:
    'the rights to Describe, Read and Write the topic, and to Create it where it is not there, would do',
  INVALID_REPLICATION_FACTOR:
    'a kafka.replicationFactor of no more than there are brokers would do',
  SASL_AUTHENTICATION_FAILED: 'another kafka.sasl would do',
}

/** The error to be thrown at the start; `undefined` for one that may go away by itself. */
export function refusalOf(error: unknown): LockstepError | undefined {
  for (const one of chainOf(error)) {
    if (one instanceof LockstepError) {
      if (!one.retryable) return one
      continue
    }
    const { type, name, code } = one as { type?: unknown; name?: unknown; code?: unknown }
    const isRefusal =
      refusals.has(String(type)) || refusalNames.has(String(name)) || untrusted.has(String(code))
    if (isRefusal) {
      const hint = whatWouldDo[String(type)]
      return new LockstepError(
        'KAFKA_REFUSED',
        `Kafka: ${messageOf(one)}${hint ? `; ${hint}` : ''}`,
        { cause: plain(one) },
      )
    }
  }
  return undefined
}

/** As an error of ours that says: later, perhaps. */
export function unavailable(error: unknown, what: string): LockstepError {
  if (error instanceof LockstepError) return error
  return (
    refusalOf(error) ??
    new LockstepError('KAFKA_UNAVAILABLE', `Kafka: ${what}: ${messageOf(error)}`, {
      cause: plain(error),
    })
  )
}

/** Is it of this type (Kafka's own name of it), or caused by one that is? */
export function hasType(error: unknown, type: string): boolean {
  return chainOf(error).some((one) => (one as { type?: unknown }).type === type)
}

/** An error as it may be shown: its name, message and Kafka's code, and nothing that hangs on it. */
export function plain(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof LockstepError) return error
  const { type } = error as { type?: unknown }
  const shown = typeof type === 'string' ? { name: error.name, type } : { name: error.name }
  return Object.assign(new Error(error.message), shown)
}

const deepest = 10

/** An error with all that it stands for: its causes, and of several at once each. */
function chainOf(error: unknown): readonly object[] {
  const chain: object[] = []
  const waiting: unknown[] = [error]
  while (waiting.length > 0 && chain.length < deepest) {
    const one = waiting.shift()
    if (one === null || typeof one !== 'object' || chain.includes(one)) continue
    chain.push(one)
    const { cause, originalError, errors } = one as Record<string, unknown>
    waiting.push(cause, originalError, ...(Array.isArray(errors) ? errors : []))
  }
  return chain
}
