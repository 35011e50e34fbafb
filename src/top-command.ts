/** `lockstep top`: what the instances of a namespace tell each other of their hot keys. */
import { answering, complain, type JsonOption, print, untilSignalled } from './command-line.ts'
import { readConfig } from './config.ts'
import { HotLists, type MergedKey } from './coordinator/hot-lists.ts'
import type { NamespaceOption } from './invalidate-command.ts'
import { systemClock } from './model/clock.ts'
import { durationMs } from './model/duration.ts'
import { wrong } from './model/entity.ts'
import { LockstepError } from './model/errors.ts'
import { checkNamespace } from './options.ts'
import { hearHotLists } from './redis/hear-hot-lists.ts'
import { sleep } from './resilience/deadline.ts'

export const topDefaults = { seconds: '2' } as const
const longestSeconds = 3_600
const connectDeadlineMs = 2_000
const repaintMs = 1_000
const clearScreen = '\x1b[2J\x1b[H'

export interface TopArguments extends NamespaceOption, JsonOption {
  readonly seconds: string
  readonly watch?: true
}

export async function runTop(options: TopArguments): Promise<void> {
  await answering(options, async () => {
    const config = readConfig()
    const namespace = options.namespace ?? config.namespace
    checkNamespace(namespace)
    const listenMs = listenMsOf(options.seconds)
    if (options.watch && options.json) {
      throw new LockstepError('OPTION_INVALID', 'either --watch or --json would do')
    }
    if (config.redisUrl === undefined) {
      throw new LockstepError(
        'OPTION_INVALID',
        'REDIS_URL is not set; redis://127.0.0.1:6379 would do',
      )
    }
    await untilSignalled((signal) =>
      top(config.redisUrl as string, namespace, { ...options, listenMs, signal }),
    )
  })
}

interface Listening extends TopArguments {
  readonly listenMs: number
  readonly signal: AbortSignal
}

async function top(url: string, namespace: string, options: Listening): Promise<void> {
  const { listenMs, signal } = options
  const lists = new HotLists()
  const nowMs = (): number => systemClock.monotonicMs()
  const close = await hearHotLists(url, namespace, connectDeadlineMs, (list) =>
    lists.add(list, nowMs()),
  )
  try {
    if (!options.watch) {
      await sleep(listenMs, signal, systemClock)
      const keys = hottestOf(lists.merged(nowMs()))
      return print({ namespace, keys: keys.map(documentOf) }, textOf(namespace, keys), options)
    }
    complain('ends with Ctrl-C')
    while (!signal.aborted) {
      await sleep(repaintMs, signal, systemClock)
      const text = textOf(namespace, hottestOf(lists.merged(nowMs())))
      process.stdout.write(process.stdout.isTTY ? clearScreen + text : text)
    }
  } finally {
    close()
  }
}

function listenMsOf(seconds: string): number {
  const wanted = /^\d{1,4}(\.\d{1,3})?$/.test(seconds) ? Number(seconds) : Number.NaN
  if (!(wanted > 0 && wanted <= longestSeconds)) {
    throw wrong('--seconds', seconds, `a number above 0, up to ${longestSeconds}, would do`)
  }
  return durationMs('--seconds', wanted * 1_000)
}

function hottestOf(merged: ReadonlyMap<string, readonly MergedKey[]>): readonly MergedKey[] {
  return [...merged.values()].flat().sort((one, other) => other.readsPerSecond - one.readsPerSecond)
}

function documentOf({ entity, id, readsPerSecond, l1Share, instances }: MergedKey): object {
  return {
    entity,
    id,
    readsPerSecond: Math.round(readsPerSecond),
    instances: instances.length,
    l1Share: Math.round(l1Share * 100) / 100,
  }
}

const shownCharacters = 60

function textOf(namespace: string, keys: readonly MergedKey[]): string {
  if (keys.length === 0) return `no key of namespace "${namespace}" is hot\n`
  const rows = [
    ['entity', 'id', 'reads/s', 'instances', 'from L1'],
    ...keys.map(({ entity, id, readsPerSecond, l1Share, instances }) => [
      entity,
      // As JSON: what came from elsewhere must not write to the terminal as it likes.
      JSON.stringify(id).slice(1, -1).slice(0, shownCharacters),
      Math.round(readsPerSecond).toLocaleString('en-US'),
      String(instances.length),
      `${Math.round(l1Share * 100)} %`,
    ]),
  ]
  const widths = [0, 1, 2, 3, 4].map((column) =>
    Math.max(...rows.map((cells) => cells[column]?.length ?? 0)),
  )
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => {
        const width = widths[column] ?? 0
        return column < 2 ? cell.padEnd(width) : cell.padStart(width)
      })
      .join('  ')
  return `${rows.map(line).join('\n')}\n`
}
