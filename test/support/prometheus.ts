/**
 * Prometheus for tests: servers of a test's own, which scrape what the test tells them, often; and
 * servers that only look like one.
 */
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { folderWith, freePort, ownFolder, pathFolders, ServerProcess } from './servers.ts'

interface Scripts {
  prometheusFolders(settings: NodeJS.ProcessEnv): readonly string[]
  prometheusArgs(place: { port: number; config: string; dataDir: string }): readonly string[]
}

const script = fileURLToPath(new URL('../../scripts/setup/prometheus.mjs', import.meta.url))
const { prometheusArgs, prometheusFolders }: Scripts = await import(script)

export function promtool(...args: readonly string[]): string {
  const command = join(programs(), 'promtool')
  return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

function programs(): string {
  return folderWith(
    ['prometheus', 'promtool'],
    [...pathFolders(), ...prometheusFolders(process.env)],
  )
}

export interface PrometheusServer {
  readonly url: string
  readonly port: number
  /** Ends it as the machine's end would. */
  kill(): Promise<void>
}

export interface PrometheusServerOptions {
  /** What it scrapes, by the name of the instance: host and port. */
  readonly targets?: Readonly<Record<string, string>>
  /** Who may ask: basic authentication, by bcrypt of the password. */
  readonly users?: Readonly<Record<string, string>>
}

const scrapeInterval = '250ms'

export async function startPrometheus(
  options: PrometheusServerOptions = {},
): Promise<PrometheusServer> {
  const { targets = {}, users } = options
  const folder = ownFolder('lockstep-prometheus-')
  const port = await freePort()
  const config = join(folder, 'prometheus.yml')
  const jobs = Object.entries(targets).map(([instance, target]) => ({
    targets: [target],
    labels: { instance },
  }))
  // YAML takes JSON.
  const scraping = { job_name: 'lockstep', static_configs: jobs }
  const global = { scrape_interval: scrapeInterval, scrape_timeout: scrapeInterval }
  writeFileSync(config, JSON.stringify({ global, scrape_configs: [scraping] }))
  const args = [...prometheusArgs({ port, config, dataDir: folder })]
  if (users) {
    const web = join(folder, 'web.yml')
    writeFileSync(web, JSON.stringify({ basic_auth_users: users }))
    args.push(`--web.config.file=${web}`)
  }
  const url = `http://127.0.0.1:${port}`
  const server = new ServerProcess({
    command: join(programs(), 'prometheus'),
    args,
    cwd: folder,
    ready: 'Server is ready to receive web requests',
  })
  await server.start()
  return { url, port, kill: () => server.end('SIGKILL') }
}

/** The value of an expression of one series; `undefined` without any. */
export async function valueAt(
  server: PrometheusServer,
  promql: string,
): Promise<number | undefined> {
  const response = await fetch(`${server.url}/api/v1/query?query=${encodeURIComponent(promql)}`)
  const { data } = (await response.json()) as {
    data: { result: readonly { value: readonly [number, string] }[] }
  }
  const [first] = data.result
  return first && Number(first.value[1])
}

/** Serves metrics as an instance would, for a Prometheus to scrape; `text` is asked each time. */
export async function serveMetrics(text: () => string | Promise<string>): Promise<string> {
  const url = await serveHttp((_, response) => {
    void (async () => {
      response.setHeader('content-type', 'text/plain; version=0.0.4')
      response.end(await text())
    })()
  })
  return new URL(url).host
}

/** An HTTP server of a test's own; its URL. */
export async function serveHttp(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Takes connections, and never says a word. */
export async function serveSilence(): Promise<string> {
  const sockets = new Set<{ destroy(): void }>()
  const server = createTcpServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** Calls of other instances, as they are scraped: `failing` of each hundred had no answer. */
export class OtherInstances {
  failing = 0
  readonly #namespace: string
  readonly #hop: string
  #made = 0
  #failed = 0

  constructor(namespace: string, hop: string) {
    this.#namespace = namespace
    this.#hop = hop
  }

  /** A hundred calls more with each scrape. */
  readonly text = (): string => {
    this.#made += 100
    this.#failed += this.failing
    const line = (outcome: string, value: number): string =>
      `lockstep_breaker_calls_total{namespace="${this.#namespace}",hop="${this.#hop}",node="",outcome="${outcome}"} ${value}`
    return [
      '# TYPE lockstep_breaker_calls_total counter',
      line('answered', this.#made - this.#failed),
      line('failed', this.#failed),
      '',
    ].join('\n')
  }
}
