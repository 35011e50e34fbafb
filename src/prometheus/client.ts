/**
 * Asks Prometheus' HTTP API. Whatever happens is an answer: a monitoring system that is down, hung,
 * misconfigured or somebody else's must cost nothing but the knowledge. No socket outlives a question;
 * redirects are not followed, so that the password goes where it was meant to.
 */
import { type ClientRequest, type IncomingMessage, request as requestPlain } from 'node:http'
import { request as requestTls } from 'node:https'
import type { Clock } from '../model/clock.ts'
import type { Unknown } from '../model/fleet.ts'
import { withDeadline } from '../resilience/deadline.ts'
import { parseAnswer, type QueryAnswer, unknown } from './answer.ts'
import type { PrometheusSettings } from './options.ts'

/** Of an answer's body: some hundred series. */
const mostBytes = 256 * 1024

class Late extends Error {}
class TooBig extends Error {}

/** An instant query. Never rejects. */
export async function askPrometheus(
  settings: PrometheusSettings,
  promql: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<QueryAnswer> {
  const { deadlineMs } = settings
  const late = (): Error => new Late(`no answer in ${deadlineMs} ms`)
  try {
    const { status, body } = await withDeadline(deadlineMs, late, signal, clock, (inTime) =>
      post(settings, promql, inTime),
    )
    const answer = parseAnswer(status, body)
    return answer.kind === 'unknown' ? withoutSecrets(answer, settings) : answer
  } catch (error) {
    return failureOf(error, signal)
  }
}

function failureOf(error: unknown, signal: AbortSignal): Unknown {
  if (signal.aborted) return unknown('closed', 'given up')
  if (error instanceof Late) return unknown('deadline', error.message)
  if (error instanceof TooBig) return unknown('too-big', error.message)
  const { code } = error as { code?: unknown }
  const isWord = typeof code === 'string' && /^[A-Z0-9_]{1,60}$/.test(code)
  return unknown('unreachable', isWord ? code : 'the connection failed')
}

/** Somebody may send back what was sent. */
function withoutSecrets(answer: Unknown, { authorization }: PrometheusSettings): Unknown {
  if (authorization === undefined) return answer
  const encoded = authorization.slice('Basic '.length)
  const [, ...rest] = Buffer.from(encoded, 'base64').toString().split(':')
  const password = rest.join(':')
  const secrets = [encoded, password, encodeURIComponent(password)].filter((one) => one !== '')
  const detail = secrets.reduce((text, secret) => text.replaceAll(secret, '***'), answer.detail)
  return { ...answer, detail }
}

function post(
  { url, authorization, ca }: PrometheusSettings,
  promql: string,
  signal: AbortSignal,
): Promise<{ readonly status: number; readonly body: string }> {
  const form = new URLSearchParams({ query: promql }).toString()
  const send = url.protocol === 'https:' ? requestTls : requestPlain
  return new Promise((resolve, reject) => {
    const request: ClientRequest = send(new URL('api/v1/query', url), {
      method: 'POST',
      agent: false,
      signal,
      headers: {
        accept: 'application/json',
        'content-type': 'application/x-www-form-urlencoded',
        'content-length': Buffer.byteLength(form),
        ...(authorization === undefined ? {} : { authorization }),
      },
      ...(ca === undefined ? {} : { ca }),
    })
    request.on('error', reject)
    request.on('response', (response) => {
      read(response).then(
        (body) => resolve({ status: response.statusCode ?? 0, body }),
        (error: unknown) => {
          request.destroy()
          reject(error)
        },
      )
    })
    request.end(form)
  })
}

async function read(response: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of response as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > mostBytes) throw new TooBig(`more than ${mostBytes} bytes`)
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}
