import type { Redis } from 'ioredis'
import type { Clock } from '../model/clock.ts'
import { LockstepError } from '../model/errors.ts'
import {
  formatKept,
  mirroredForMs,
  mirroredState,
  mostLoneBytes,
  parseChanges,
  parseKept,
} from '../model/flag-mirror.ts'
import type { FlagMirror } from '../model/flag-ports.ts'
import type { FlagChange, FlagState } from '../model/flags.ts'
import type { Logger } from '../model/log.ts'
import type { RedisClient } from './call.ts'
import { connectRedis } from './connection.ts'
import { type KeySpace, keySpace } from './keys.ts'
import type { RedisConnectionOptions } from './open.ts'
import { readScripts, runScript } from './scripts.ts'

/** On the fast plane, where any other text is the key of a value. */
const lookAgain = 'flags'
const connectDeadlineMs = 2_000

export interface FlagMirrorOptions {
  readonly redis: RedisClient
  /** Listens to the fast plane; `undefined`: nobody here listens. */
  readonly subscriber: Redis | undefined
  readonly keys: KeySpace
  readonly clock: Clock
}

export class RedisFlagMirror implements FlagMirror {
  readonly #options: FlagMirrorOptions
  readonly #script = readScripts().flags

  constructor(options: FlagMirrorOptions) {
    this.#options = options
  }

  async keep(state: FlagState): Promise<void> {
    await this.#run('keep', formatKept(state))
  }

  async change(changes: readonly FlagChange[]): Promise<void> {
    const atMs = this.#options.clock.wallMs()
    const lines = changes.map((change) => JSON.stringify({ ...change, atMs }))
    if ((await this.#run('change', lines.join('\n'))) !== 'full') return
    throw new LockstepError(
      'OPTION_INVALID',
      'too many flags were changed since PostgreSQL could last be asked; fewer would do',
    )
  }

  async read(): Promise<FlagState | undefined> {
    const { clock, keys, redis } = this.#options
    const [kept, changes] = await (
      redis as { mget(...keys: readonly string[]): Promise<(string | null)[]> }
    ).mget(...keys.flags)
    if (!kept && !changes) return undefined
    return mirroredState(
      kept ? parseKept(kept) : undefined,
      changes ? parseChanges(changes) : [],
      clock.wallMs(),
    )
  }

  async announce(): Promise<void> {
    const { keys, redis } = this.#options
    await redis.publish(keys.bus, lookAgain)
  }

  listen(look: () => void): void {
    const { keys, subscriber } = this.#options
    subscriber?.on('message', (channel: string, message: string) => {
      if (channel === keys.bus && message === lookAgain) look()
    })
  }

  async #run(act: 'keep' | 'change', bytes: string): Promise<string> {
    const { keys, redis } = this.#options
    const args = [act, bytes, String(mirroredForMs), String(mostLoneBytes)]
    return String(await runScript(redis, this.#script, keys.flags, args))
  }
}

/** A mirror for one act: no instance is told of here, and the connections are closed behind it. */
export async function withFlagMirror<T>(
  options: RedisConnectionOptions,
  namespace: string,
  clock: Clock,
  log: Logger,
  run: (mirror: FlagMirror) => Promise<T>,
): Promise<T> {
  const keys = keySpace(namespace)
  const { commands, close } = await connectRedis(options, keys.bus, connectDeadlineMs, log)
  try {
    return await run(new RedisFlagMirror({ redis: commands, subscriber: undefined, keys, clock }))
  } finally {
    close()
  }
}
