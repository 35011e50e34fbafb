/**
 * I5: one load per miss over all processes, plus at most one for each lease that is lost; and when the
 * process that loads dies, the others wait no longer than for a lease and a load.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { openWorld, until, type World } from '../support/world.ts'

/** More than ten leases, and far from what a busy machine takes. */
const loadMs = 1_000
const promisedMs = 100
const slackMs = 400
/** Of the machine, which may stand still for longer than a lease: that costs a load. */
const patience = { retry: 3 }
/** Each try has its own. */
let id = 0

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
  ])
  onTestFinished(() => void child.kill('SIGKILL'))
  await heard(child, 'ready')
  return {
    child,
    loading: () => heard(child, 'loading'),
    get: (id: number): Promise<Answer> => {
      const answer = heard(child, 'answered')
      child.send(id)
      return answer as Promise<Answer>
    },
  }
}

async function heard(child: ChildProcess, kind: string): Promise<unknown> {
  for (;;) {
    const [message] = (await once(child, 'message')) as [{ kind: string }]
    if (message.kind === kind) return message
  }
}

/**
 * The loads over three processes that ask for the same id, and how long after `strike` has hit the one
 * that loads the others were answered.
 */
async function strikeOwner(strike: (owner: ChildProcess) => void) {
  const world = await openWorld()
  id++
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
  const loads = answers.reduce((sum, one) => sum + one.loads, 1)
  return { world, owner, first, answers, loads, waitedMs }
}

test(
  'of three processes one loads, and keeps its lease for as long as that takes',
  patience,
  async () => {
    const { answers, loads } = await strikeOwner(() => {})
    expect(answers.map(({ version }) => version)).toEqual([0, 0])
    expect(loads).toBe(1)
  },
)

test(
  'when the process that loads is killed, another loads within 100 ms, and no third one',
  patience,
  async () => {
    const { answers, loads, waitedMs } = await strikeOwner((owner) => owner.kill('SIGKILL'))
    expect(answers.map(({ version }) => version)).toEqual([0, 0])
    expect(loads).toBe(2)
    expect(waitedMs).toBeLessThan(loadMs + promisedMs + slackMs)
  },
)

test(
  'a process that is stopped during its load costs one more load, and never a wrong value',
  patience,
  async () => {
    const { world, owner, first, answers, loads, waitedMs } = await strikeOwner((child) =>
      child.kill('SIGSTOP'),
    )
    expect(answers.map(({ version }) => version)).toEqual([0, 0])
    expect(loads).toBe(2)
    expect(waitedMs).toBeLessThan(loadMs + promisedMs + slackMs)
    const writing = await world.open()
    await world.write(writing, id)
    owner.child.kill('SIGCONT')
    await first
    const reading = await world.open()
    expect((await reading.item.get(id, { consistency: 'strong' }))?.version).toBe(1)
  },
)
