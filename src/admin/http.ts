/**
 * What a daemon answers over HTTP: its metrics, whether it runs, whether it is of use. No rule of the
 * cache lives here. Without authentication: it listens on the loopback unless it is told otherwise,
 * and nothing that it says holds a secret.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'

export interface Readiness {
  readonly isReady: boolean
  /** What is shown beside. */
  readonly details: Readonly<Record<string, unknown>>
}

export interface AdminOptions {
  readonly host: string
  /** 0: any that is free. */
  readonly port: number
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>
  readonly readiness: () => Readiness
  readonly log: Logger
}

export interface Admin {
  /** As `http://127.0.0.1:9464`. */
  readonly url: string
  close(): Promise<void>
}

const mostConnections = 100
const timeoutMs = 10_000

/** Rejects when it can't listen there. */
export async function openAdmin(options: AdminOptions): Promise<Admin> {
  const { host, log, port } = options
  const server = createServer(
    { requestTimeout: timeoutMs, headersTimeout: timeoutMs },
    (request, response) => {
      answer(options, request, response).catch((error: unknown) => {
        log.error({ err: error }, 'a request could not be answered')
        if (!response.headersSent) response.writeHead(500)
        response.end()
      })
    },
  )
  server.maxConnections = mostConnections
  await listen(server, port, host)
  const { address, family, port: taken } = server.address() as AddressInfo
  const name = family === 'IPv6' ? `[${address}]` : address
  return {
    url: `http://${name}:${taken}`,
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      server.closeAllConnections()
      await closed
    },
  }
}

function listen(server: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) =>
      reject(new Error(`cannot listen on ${host}:${port}: ${messageOf(error)}`, { cause: error })),
    )
    server.listen(port, host, resolve)
  })
}

async function answer(
  { metrics, readiness }: AdminOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const say = (status: number, contentType: string, text: string): void => {
    response.writeHead(status, {
      'content-type': contentType,
      'content-length': Buffer.byteLength(text),
    })
    response.end(request.method === 'HEAD' ? undefined : text)
  }
  const json = (status: number, document: object): void =>
    say(status, 'application/json', `${JSON.stringify(document)}\n`)
  const [path] = (request.url ?? '').split('?')
  if (path !== '/metrics' && path !== '/healthz' && path !== '/readyz') {
    return json(404, { error: '/metrics, /healthz and /readyz are here' })
  }
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('allow', 'GET, HEAD')
    return json(405, { error: 'GET and HEAD are answered' })
  }
  if (path === '/metrics') {
    const { contentType, text } = await metrics()
    return say(200, contentType, text)
  }
  if (path === '/healthz') return json(200, { status: 'running' })
  const { isReady, details } = readiness()
  return json(isReady ? 200 : 503, { status: isReady ? 'ready' : 'not ready', ...details })
}
