/** Why a service can't be reached, by what Node says. Services add what they say themselves. */

export type FailureKind =
  | 'refused'
  | 'name'
  | 'route'
  | 'silent'
  | 'cut'
  | 'tls'
  | 'password'
  | 'rights'
  | 'database'
  | 'full'
  | 'starting'
  | 'stranger'
  | 'other'

/** `detail`: in the words of who said it. */
export interface Failure {
  readonly kind: FailureKind
  readonly detail: string
}

const kinds: Readonly<Record<string, FailureKind>> = {
  ECONNREFUSED: 'refused',
  ENOENT: 'refused',
  ENOTFOUND: 'name',
  EAI_AGAIN: 'name',
  EHOSTUNREACH: 'route',
  ENETUNREACH: 'route',
  ETIMEDOUT: 'silent',
  ECONNRESET: 'cut',
  EPIPE: 'cut',
  EPROTO: 'tls',
}
const tlsCode = /^(ERR_TLS_|ERR_SSL_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH)/
const deepest = 10

/** `undefined`: it is nothing that Node said. */
export function networkFailure(error: unknown): Failure | undefined {
  const waiting: unknown[] = [error]
  for (let seen = 0; waiting.length > 0 && seen < deepest; seen++) {
    const one = waiting.shift()
    if (one === null || typeof one !== 'object') continue
    const { code, cause, errors, originalError } = one as Record<string, unknown>
    const kind = kindOf(code)
    if (kind) return { kind, detail: String(code) }
    waiting.push(cause, originalError, ...(Array.isArray(errors) ? errors : []))
  }
  return undefined
}

/** By the name that Node has for it, as ECONNREFUSED. */
export function kindOf(code: unknown): FailureKind | undefined {
  if (typeof code !== 'string') return undefined
  if (Object.hasOwn(kinds, code)) return kinds[code]
  return tlsCode.test(code) ? 'tls' : undefined
}
