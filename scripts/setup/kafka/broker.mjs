// One process that is broker and controller (KRaft), with all that Kafka keeps three times kept
// once. Java's start is the dear part of a short test: classes come from an archive (3.5 s to
// 2.1 s, and 2.5 s to 0.8 s for the formatting, on 2 cores), and only the first compiler runs.

import { execFile, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { readText } from '../checkout.mjs'
import { freePort } from '../server.mjs'
import { until } from '../until.mjs'
import { connects, describeBroker } from './wire.mjs'

const run = promisify(execFile)
const READY_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 20_000

// Names of the listeners. Clients may be made to speak TLS or SASL, or be told another address; the
// inner one stays plain, so that it can always be asked whether the broker is ready.
const LISTENERS = { clients: 'CLIENTS', inner: 'INNER', controller: 'CONTROLLER' }

const PROPERTIES = {
  'process.roles': 'broker,controller',
  'node.id': '1',
  'controller.listener.names': LISTENERS.controller,
  'inter.broker.listener.name': LISTENERS.inner,
  'offsets.topic.replication.factor': '1',
  'offsets.topic.num.partitions': '1',
  'transaction.state.log.replication.factor': '1',
  'transaction.state.log.min.isr': '1',
  'transaction.state.log.num.partitions': '1',
  'share.coordinator.state.topic.replication.factor': '1',
  'share.coordinator.state.topic.min.isr': '1',
  // A group forms in 80 ms instead of 3 s.
  'group.initial.rebalance.delay.ms': '0',
  'file.delete.delay.ms': '1000',
  // 128 MB of heap by default, for what is a few records here.
  'log.cleaner.dedupe.buffer.size': '4194304',
  'num.network.threads': '2',
  'num.io.threads': '4',
}

/**
 * Writes the broker's configuration into `folder`, formats its data there if it has none, and gives
 * back how to run it: `{ command, args, inner, clusterId }`. `port` is for clients; `config` is as in
 * server.properties and wins; `advertised` and `protocol` are those of the clients' listener.
 */
export async function prepareBroker({ kafka, folder, port, config = {}, ...listener }) {
  const [innerPort, controllerPort] = await freePorts(2)
  const file = join(folder, 'server.properties')
  const addresses = {
    clients: `127.0.0.1:${port}`,
    inner: `127.0.0.1:${innerPort}`,
    controller: `127.0.0.1:${controllerPort}`,
  }
  const properties = {
    ...PROPERTIES,
    ...listenersOf(addresses, listener),
    'log.dirs': join(folder, 'data'),
    ...config,
  }
  mkdirSync(folder, { recursive: true })
  writeFileSync(file, textOf(properties), { mode: 0o600 })
  await formatIfNew(kafka, folder, file)
  const args = [...javaOptions(kafka), 'kafka.Kafka', file]
  return { command: kafka.java, args, inner: addresses.inner, clusterId: clusterIdIn(folder) }
}

/** Whether the broker of this cluster, and no other process, takes clients there. */
export async function isReady({ inner, clusterId }, clients) {
  const { brokers, clusterId: found } = await describeBroker(inner)
  if (found !== clusterId || brokers.length === 0) return false
  await connects(clients)
  return true
}

/** Runs a broker once so that the next ones start in half the time; once per set of jars. */
export async function archiveClasses(kafka) {
  const archive = join(kafka.archives, `kafka-classes-${hashOf(kafka)}.jsa`)
  if (!existsSync(archive)) await writeArchive(kafka, archive)
  return { ...kafka, archive }
}

async function writeArchive(kafka, archive) {
  const draft = mkdtempSync(join(kafka.archives, 'kafka-archive-'))
  try {
    const port = await freePort()
    const broker = await prepareBroker({ kafka, folder: draft, port })
    const made = join(draft, 'classes.jsa')
    const args = [`-XX:ArchiveClassesAtExit=${made}`, ...broker.args]
    const child = spawn(broker.command, args, { stdio: 'ignore' })
    let hasEnded = false
    child.once('exit', () => {
      hasEnded = true
    })
    const ready = () => hasEnded || isReady(broker, `127.0.0.1:${port}`).catch(() => false)
    await until(ready, READY_TIMEOUT_MS)
    child.kill('SIGTERM')
    if (!(await until(() => hasEnded, STOP_TIMEOUT_MS))) child.kill('SIGKILL')
    // Without one, a broker only starts slower: java says nothing about a missing archive.
    if (existsSync(made)) renameSync(made, archive)
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
}

function javaOptions({ archive, jars, options }) {
  return [
    '-Xmx512m',
    '-XX:+UseSerialGC',
    '-XX:TieredStopAtLevel=1',
    // The log is the broker's; what java thinks of an archive is no part of it.
    '-Xlog:disable',
    ...(archive ? [`-XX:SharedArchiveFile=${archive}`] : []),
    ...options,
    '-cp',
    jars.join(':'),
  ]
}

function listenersOf(
  { clients, inner, controller },
  { advertised = clients, protocol = 'PLAINTEXT' },
) {
  const { clients: client, inner: plain, controller: quorum } = LISTENERS
  return {
    listeners: `${client}://${clients},${plain}://${inner},${quorum}://${controller}`,
    'advertised.listeners': `${client}://${advertised},${plain}://${inner}`,
    'listener.security.protocol.map': `${client}:${protocol},${plain}:PLAINTEXT,${quorum}:PLAINTEXT`,
    'controller.quorum.voters': `1@${controller}`,
  }
}

async function formatIfNew(kafka, folder, file) {
  if (clusterIdIn(folder)) return
  const id = randomBytes(16).toString('base64url').replace(/^-/, 'A')
  const args = [...javaOptions(kafka), 'kafka.tools.StorageTool', 'format', '-t', id, '-c', file]
  await run(kafka.java, args)
}

function clusterIdIn(folder) {
  return /^cluster\.id=(.+)$/m.exec(readText(join(folder, 'data', 'meta.properties')) ?? '')?.[1]
}

// In a properties file a backslash begins an escape.
function textOf(properties) {
  const lines = Object.entries(properties).map(([name, value]) => [
    name,
    value.replace(/\\/g, '\\\\'),
  ])
  return `${lines.map((line) => line.join('=')).join('\n')}\n`
}

async function freePorts(count) {
  const ports = new Set()
  while (ports.size < count) ports.add(await freePort())
  return [...ports]
}

function hashOf({ java, jars }) {
  return createHash('sha256')
    .update([java, ...jars].join('\n'))
    .digest('hex')
    .slice(0, 8)
}
