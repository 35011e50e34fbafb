// The few requests that setup and tests need of a Kafka broker, so that neither needs a client.
// The layouts are those of Kafka's protocol guide; the versions are ones that 2.4 to 4.x answer.

import { connect } from 'node:net'

const TIMEOUT_MS = 3_000
const MAX_ANSWER_BYTES = 4 << 20
const API_VERSIONS = { key: 18, version: 3 }
const METADATA = { key: 3, version: 4 }
const CREATE_TOPICS = { key: 19, version: 2 }
const DELETE_TOPICS = { key: 20, version: 1 }
const UNKNOWN_TOPIC = 3
const METADATA_VERSION = 'metadata.version'

/** What the broker at `host:port` says: the levels that it supports, its cluster, its brokers. */
export async function describeBroker(address) {
  return withConnection(address, async (ask) => {
    const features = featuresIn(await ask(API_VERSIONS, softwareName()))
    // No topic, and none is made by asking.
    const cluster = clusterIn(await ask(METADATA, Buffer.from([0, 0, 0, 0, 0])))
    return { metadataVersion: features.get(METADATA_VERSION), ...cluster }
  })
}

/**
 * Creates a topic of one copy; `config` is the topic's.
 * @public Tests import it where knip can't see it.
 */
export async function createTopic(address, name, partitions, config = {}) {
  const configs = Object.entries(config).flatMap((entry) => entry.map(string))
  const topic = [string(name), int32(partitions), int16(1), int32(0)]
  const settings = [int32(configs.length / 2), ...configs]
  const end = [int32(TIMEOUT_MS), Buffer.from([0])]
  const body = Buffer.concat([int32(1), ...topic, ...settings, ...end])
  const answer = await withConnection(address, (ask) => ask(CREATE_TOPICS, body))
  throwIfRefused(answer, () => answer.string())
}

/**
 * Deletes a topic; one that is not there is no error.
 * @public
 */
export async function deleteTopic(address, name) {
  const body = Buffer.concat([int32(1), string(name), int32(TIMEOUT_MS)])
  const answer = await withConnection(address, (ask) => ask(DELETE_TOPICS, body))
  throwIfRefused(answer, () => '', [UNKNOWN_TOPIC])
}

function throwIfRefused(answer, messageOf, allowed = []) {
  answer.skip(4) // throttled for
  const topics = answer.array(() => [answer.string(), answer.int16(), messageOf()])
  for (const [name, code, message] of topics) {
    if (code !== 0 && !allowed.includes(code)) {
      throw new Error(`topic ${name}: Kafka's error ${code} ${message}`.trim())
    }
  }
}

/** Resolves when something takes connections there. */
export async function connects(address) {
  await withConnection(address, async () => {})
}

function splitAddress(address) {
  const at = address.lastIndexOf(':')
  return { host: address.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(address.slice(at + 1)) }
}

function featuresIn(answer) {
  const code = answer.int16()
  if (code !== 0) throw new Error(`answers with Kafka's error ${code}: it is too old`)
  answer.compactArray(() => answer.skip(6)) // key, oldest and newest version of each request
  answer.skip(4) // throttled for
  const features = new Map()
  answer.taggedFields((tag, size) => {
    if (tag !== 0) return answer.skip(size)
    answer.compactArray(() => {
      const name = answer.compactString()
      answer.skip(2) // the oldest level
      features.set(name, answer.int16())
    })
  })
  return features
}

function clusterIn(answer) {
  answer.skip(4) // throttled for
  const brokers = answer.array(() => {
    answer.skip(4) // its id
    const [host, port] = [answer.string(), answer.int32()]
    answer.string() // its rack
    return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
  })
  return { brokers, clusterId: answer.string() }
}

async function withConnection(address, work) {
  const socket = connect(splitAddress(address))
  const timer = setTimeout(() => socket.destroy(new Error('does not answer')), TIMEOUT_MS)
  try {
    await new Promise((resolve, reject) => {
      socket.once('connect', resolve).once('error', reject)
    })
    let correlation = 0
    return await work(async (request, body) => {
      correlation += 1
      const sent = request === API_VERSIONS ? Buffer.concat([NO_TAGS, body]) : body
      const head = [
        int16(request.key),
        int16(request.version),
        int32(correlation),
        string('lockstep'),
      ]
      const message = Buffer.concat([...head, sent])
      socket.write(Buffer.concat([int32(message.length), message]))
      const answer = new Answer(await readAnswer(socket))
      if (answer.int32() !== correlation) throw new Error('answers, but not as Kafka does')
      return answer
    })
  } catch (error) {
    throw error instanceof RangeError ? new Error('answers, but not as Kafka does') : error
  } finally {
    clearTimeout(timer)
    socket.destroy()
  }
}

function readAnswer(socket) {
  return new Promise((resolve, reject) => {
    let read = Buffer.alloc(0)
    const onData = (chunk) => {
      read = Buffer.concat([read, chunk])
      if (read.length < 4) return
      const size = read.readInt32BE(0)
      if (size < 0 || size > MAX_ANSWER_BYTES) reject(new Error('answers, but not as Kafka does'))
      if (read.length < 4 + size) return
      socket.off('data', onData)
      resolve(read.subarray(4, 4 + size))
    }
    socket.on('data', onData).once('error', reject)
    socket.once('close', () => reject(new Error('closed the connection (TLS, SASL, or not Kafka)')))
  })
}

class Answer {
  #bytes
  #at = 0

  constructor(bytes) {
    this.#bytes = bytes
  }

  skip(size) {
    this.#at += size
  }

  int16() {
    this.#at += 2
    return this.#bytes.readInt16BE(this.#at - 2)
  }

  int32() {
    this.#at += 4
    return this.#bytes.readInt32BE(this.#at - 4)
  }

  string() {
    return this.#text(this.int16())
  }

  compactString() {
    return this.#text(this.#varint() - 1)
  }

  array(item) {
    return Array.from({ length: this.#count(this.int32()) }, item)
  }

  /** Its items end with tagged fields, as all structures of the newer layouts do. */
  compactArray(item) {
    return Array.from({ length: this.#count(this.#varint() - 1) }, () => {
      const value = item()
      this.taggedFields((_, size) => this.skip(size))
      return value
    })
  }

  taggedFields(field) {
    for (let left = this.#count(this.#varint()); left > 0; left -= 1) {
      field(this.#varint(), this.#varint())
    }
  }

  #text(length) {
    if (length < 0) return ''
    this.#at += length
    return this.#bytes.toString('utf8', this.#at - length, this.#at)
  }

  #count(count) {
    if (count > this.#bytes.length) throw new RangeError('more items than bytes')
    return Math.max(0, count)
  }

  #varint() {
    let value = 0
    for (let shift = 0; ; shift += 7) {
      const byte = this.#bytes.readUInt8(this.#at++)
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value >>> 0
    }
  }
}

const NO_TAGS = Buffer.from([0])

function softwareName() {
  const name = Buffer.from('lockstep')
  const compact = Buffer.concat([Buffer.from([name.length + 1]), name])
  return Buffer.concat([compact, compact, NO_TAGS])
}

function int16(value) {
  const bytes = Buffer.alloc(2)
  bytes.writeInt16BE(value)
  return bytes
}

function int32(value) {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value)
  return bytes
}

function string(value) {
  const bytes = Buffer.from(value)
  return Buffer.concat([int16(bytes.length), bytes])
}
