/**
 * What the coordinator relies on of a log (DESIGN §6), on every implementation: the real one and its
 * twin in memory promise the same.
 */
import { Kafka, logLevel } from 'kafkajs'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openLog } from '../../src/kafka/log.ts'
import { settleKafka } from '../../src/kafka/options.ts'
import { encodeWrite, partitionOf } from '../../src/kafka/record.ts'
import type { Log, LoggedWrite } from '../../src/model/bus-ports.ts'
import { systemClock } from '../../src/model/clock.ts'
import { silent } from '../../src/model/log.ts'
import { type Incarnation, parseSnapshot, type Xid } from '../../src/model/snapshot.ts'
import { MemoryTopic, memoryLog } from '../../src/testing/memory-log.ts'
import { Ear } from '../support/ear.ts'
import { ownTopic, sharedKafka } from '../support/kafka.ts'
import { ownNamespace } from '../support/namespace.ts'

/** Instances that share a log, and what others may do to it. */
interface Rig {
  open(namespace?: string): Log
  put(partition: number, bytes: Buffer): Promise<void>
}

const implementations: readonly [string, () => Rig][] = [
  ['Kafka', openKafka],
  ['memory', openMemory],
]

function openKafka(): Rig {
  const options = { brokers: sharedKafka(), topic: ownTopic() }
  return {
    open: (namespace = ownNamespace()) =>
      closedAtEnd(openLog(settleKafka(options, namespace), { clock: systemClock, log: silent })),
    put: async (partition, value) => {
      const kafka = new Kafka({ brokers: [...options.brokers], logLevel: logLevel.NOTHING })
      const producer = kafka.producer({ allowAutoTopicCreation: false })
      await producer.connect()
      await producer.send({ topic: options.topic, messages: [{ partition, value }] })
      await producer.disconnect()
    },
  }
}

function openMemory(): Rig {
  const topic = new MemoryTopic(systemClock)
  return {
    open: (namespace = ownNamespace()) => closedAtEnd(memoryLog(topic, namespace)),
    put: async (partition, bytes) => topic.put(partition, bytes),
  }
}

function closedAtEnd(log: Log): Log {
  onTestFinished(() => log.close())
  return log
}

const incarnation = '00112233445566ff' as Incarnation
const writeOf = (xid: number, ...ids: string[]): LoggedWrite => ({
  write: { incarnation, xid: xid as Xid },
  entity: 'city',
  ids,
})
const soon = (): AbortSignal => AbortSignal.timeout(10_000)

async function listening(log: Log): Promise<Ear> {
  const ear = new Ear()
  await log.listen(ear)
  await ear.positionedTimes(1)
  return ear
}

describe.each(implementations)('the log in %s', (_name, openRig) => {
  test('what was published before is not heard, and all that comes after is', async () => {
    const log = openRig().open()
    await log.publish([writeOf(1, 'before')], soon())
    const ear = await listening(log)
    expect(ear.told).toEqual([{ kind: 'positioned', partitions: 3 }])
    const writes = Array.from({ length: 500 }, (_, index) => writeOf(index + 10, `${index}`))
    await Promise.all([
      log.publish(writes.slice(0, 250), soon()),
      log.publish(writes.slice(250), soon()),
    ])
    await ear.until('all are heard', () => ear.writes.length >= writes.length)
    expect(new Set(ear.writes.map(({ write }) => write.xid))).toEqual(
      new Set(writes.map(({ write }) => write.xid)),
    )
    expect(
      ear.writes.map(({ partition, ids }) => partition === partitionOf('city', ids[0] ?? '', 3)),
    ).not.toContain(false)
    expect(ear.count('lost')).toBe(0)
  })

  test('writes of one id come in the order in which they were published', async () => {
    const log = openRig().open()
    const ear = await listening(log)
    for (let xid = 1; xid <= 30; xid++) {
      await log.publish([writeOf(xid, 'one'), writeOf(xid, `other ${xid}`)], soon())
    }
    await ear.until('all are heard', () => ear.writes.length === 60)
    const xids = ear.writes.filter(({ ids }) => ids[0] === 'one').map(({ write }) => write.xid)
    expect(xids).toEqual(Array.from({ length: 30 }, (_, index) => index + 1))
  })

  test('a barrier comes to every partition, after the writes published before it', async () => {
    const log = openRig().open()
    const ear = await listening(log)
    const snapshot = parseSnapshot('100:110:100,105', incarnation)
    const before = Array.from({ length: 60 }, (_, index) => writeOf(index + 1, `${index}`))
    await log.publish(before, soon())
    await log.barrier(snapshot, soon())
    await log.publish([writeOf(111, 'a'), writeOf(112, 'b'), writeOf(113, 'c')], soon())
    await ear.until('all are heard', () => ear.records.length >= before.length + 6)
    for (const partition of [0, 1, 2]) {
      const own = ear.records.filter((one) => one.partition === partition).map((one) => one.record)
      const at = own.findIndex(({ kind }) => kind === 'barrier')
      expect(own[at]).toEqual({ kind: 'barrier', snapshot, partitions: 3 })
      const ids = before
        .flatMap((write) => write.ids)
        .filter((id) => partitionOf('city', id, 3) === partition)
      expect(own.slice(0, at).map((record) => record.kind === 'write' && record.ids[0])).toEqual(
        ids,
      )
    }
  })

  test('each of several listeners hears everything, whoever published it', async () => {
    const rig = openRig()
    const [one, two] = [rig.open(), rig.open()]
    const ears = await Promise.all([listening(one), listening(one), listening(two)])
    await one.publish([writeOf(1, 'a'), writeOf(2, 'b')], soon())
    await two.publish([writeOf(3, 'a')], soon())
    for (const ear of ears) {
      await ear.until('all are heard', () => ear.writes.length === 3)
      expect(ear.writes.map(({ write }) => Number(write.xid)).sort()).toEqual([1, 2, 3])
    }
  })

  test('what is no record is said to be unreadable, and what follows is heard', async () => {
    const rig = openRig()
    const log = rig.open()
    const ear = await listening(log)
    const good = encodeWrite(ownNamespace(), writeOf(1, 'a'))[0]?.bytes as Buffer
    const future = Buffer.from(good)
    future[1] = 9
    for (const bytes of [Buffer.from('{"hello":1}'), good.subarray(0, 20), future]) {
      await rig.put(1, bytes)
    }
    await rig.put(1, good)
    await ear.until('all are heard', () => ear.records.length === 4)
    expect(ear.records.map(({ record }) => record.kind)).toEqual([
      'unreadable',
      'unreadable',
      'unreadable',
      'write',
    ])
  })

  test('records of another namespace in the same topic are nothing to it', async () => {
    const rig = openRig()
    const [log, other] = [rig.open(), rig.open('another')]
    const ear = await listening(log)
    await other.publish([writeOf(1, 'a')], soon())
    await other.barrier(parseSnapshot('9:9:', incarnation), soon())
    await log.publish([writeOf(2, 'a'), writeOf(3, 'b'), writeOf(4, 'c'), writeOf(5, 'd')], soon())
    await ear.until('its own are heard', () => ear.records.length >= 4)
    expect(ear.records.map(({ record }) => record.kind)).not.toContain('barrier')
    expect(ear.writes.map(({ write }) => Number(write.xid)).sort()).toEqual([2, 3, 4, 5])
  })

  test('a write of very many ids arrives whole', async () => {
    const log = openRig().open()
    const ear = await listening(log)
    const ids = Array.from({ length: 200_000 }, (_, index) => `id-${index}`)
    await log.publish([{ ...writeOf(7), ids }], soon())
    const heard = (): number => ear.writes.reduce((sum, write) => sum + write.ids.length, 0)
    await ear.until('all ids are heard', () => heard() >= ids.length)
    expect(new Set(ear.writes.flatMap((write) => write.ids))).toEqual(new Set(ids))
    expect(ear.writes.length).toBeGreaterThan(1)
  })

  test('an aborted signal is obeyed, and so is close', async () => {
    const log = openRig().open()
    const reason = new Error('no time')
    await expect(log.publish([writeOf(1, 'a')], AbortSignal.abort(reason))).rejects.toBe(reason)
    const ear = await listening(log)
    await log.close()
    await expect(log.publish([writeOf(1, 'a')], soon())).rejects.toMatchObject({ code: 'CLOSED' })
    await expect(log.listen(new Ear())).rejects.toMatchObject({ code: 'CLOSED' })
    expect(ear.count('lost')).toBe(0)
    await log.close()
  })
})
