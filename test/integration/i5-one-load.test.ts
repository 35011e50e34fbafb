/**
 * I5: one load per miss over all processes, plus at most one for each lease that is lost; and when the
 * process that loads dies, the others wait no longer than for a lease and a load.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { openWorld, until, type World } from '../support/world.ts'

const id = 1
/** docs/decisions/0009 */
const leaseMs = 80
/** More than ten leases, and far from what a busy machine takes. */
const loadMs = 1_000
const promisedMs = 100
const slackMs = 400

interface Answer {
  readonly kind: 'answered'
  readonly version: number | undefined
  readonly loads: number
}

/** A process that is ready, and how what it says is waited for. */
async function openLoading(world: World) {
  const child = fork(fileURLToPath(new URL('../support/children/loading.mjs', import.meta.url)), [
    world.namespace,
    world.databaseUrl,
    process.env.REDIS_URL ?? '',
    world.table,
    String(loadMs),
    String(leaseMs),
  ])
  onTestFinished(() => void child.kill('SIGKILL'))
  await heard(child, 'ready')
  let stalls = 0
  child.on('message', ({ kind }: { kind: string }) => {
    if (kind === 'stalled') stalls++
  })
  return {
    child,
    /** How often since its `get` it can have lost a lease, the machine or Redis standing still. */
    stalls: () => stalls,
    loading: () => heard(child, 'loading'),
    get: (id: number): Promise<Answer> => {
      stalls = 0
      const answer = heard(child, 'answered')
      child.send(id)
      return answer as Promise<Answer>
    },
  }
}

/** With one listener all along: two messages may come in one turn. */
function heard(child: ChildProcess, kind: string): Promise<unknown> {
  return new Promise((resolve) => {
    child.on('message', function hear(message: { kind: string }) {
      if (message.kind !== kind) return
      child.off('message', hear)
      resolve(message)
    })
  })
}

/**
 * What three processes come to that ask for the same id: `strike` hits the one that loads, after which
 * so many loads are `needed`.
 */
async function strikeOwner(needed: number, strike: (owner: ChildProcess) => void) {
  const world = await openWorld()
  const owner = await openLoading(world)
  const others = await Promise.all([openLoading(world), openLoading(world)])
  const loading = owner.loading()
  const first = owner.get(id)
  await loading
  const waiting = Promise.all(others.map(({ get }) => get(id)))
  const askedAtMs = performance.now()
  await until('somebody waits, and the lease that the load began with is long over', async () => {
    const mark = await world.redis.getrange(world.fenceKey(id), 20, 20)
    return mark === 'W' && performance.now() - askedAtMs > loadMs / 4
  })
  strike(owner.child)
  const struckAtMs = performance.now()
  const answers = await waiting
  const waitedMs = performance.now() - struckAtMs
  expect(answers.map(({ version }) => version)).toEqual([0, 0])
  const loads = answers.reduce((sum, one) => sum + one.loads, 1)
  // Of the others only who has loaded had a lease to lose.
  const loaders = [owner, ...others.filter((_, index) => (answers[index]?.loads ?? 0) > 0)]
  const stalls = loaders.reduce((sum, one) => sum + one.stalls(), 0)
  expect(loads, `${stalls} stalls`).toBeGreaterThanOrEqual(needed)
  expect(loads, `${stalls} stalls`).toBeLessThanOrEqual(needed + stalls)
  // A load whose lease is lost begins anew elsewhere, at its end at worst.
  const lost = loads - needed
  expect(waitedMs).toBeLessThan((1 + lost) * (loadMs + promisedMs) + slackMs)
  return { world, owner, first }
}

test('of three processes one loads, and keeps its lease for as long as that takes', async () => {
  await strikeOwner(1, () => {})
})

test('when the process that loads is killed, another loads within 100 ms, and no third one', async () => {
  await strikeOwner(2, (owner) => owner.kill('SIGKILL'))
})

test('a process that is stopped during its load costs one more load, and never a wrong value', async () => {
  const { world, owner, first } = await strikeOwner(2, (child) => child.kill('SIGSTOP'))
  const writing = await world.open()
  await world.write(writing, id)
  owner.child.kill('SIGCONT')
  await first
  const reading = await world.open()
  expect((await reading.item.get(id, { consistency: 'strong' }))?.version).toBe(1)
})
