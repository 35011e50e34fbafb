/** Flags in memory, for several caches: what PostgreSQL and Redis keep of them. */
import type { Clock } from '../model/clock.ts'
import { LockstepError } from '../model/errors.ts'
import { type LoneChange, mirroredState, mostLoneBytes } from '../model/flag-mirror.ts'
import type { FlagMirror, FlagStore } from '../model/flag-ports.ts'
import {
  type FlagChange,
  type FlagReport,
  type FlagState,
  flagKey,
  type KeptFlag,
  mostFlags,
  type PastFlagChange,
} from '../model/flags.ts'

export class MemoryFlags implements FlagStore {
  readonly #clock: Clock
  #flags = new Map<string, KeptFlag>()
  readonly #history: PastFlagChange[] = []
  readonly #reports = new Map<string, readonly string[]>()
  /** Why it can't be asked; `undefined` when it can. */
  down: Error | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  async read(): Promise<FlagState> {
    this.#checkUp()
    const nowMs = this.#clock.wallMs()
    const flags = [...this.#flags.values()]
      .map((flag) => ({ ...flag, leftMs: flag.untilMs - nowMs }))
      .filter(({ leftMs }) => leftMs > 0)
      .sort((one, other) => one.changeId - other.changeId)
    return { revision: this.#history.length, flags }
  }

  async change(changes: readonly FlagChange[]): Promise<FlagState> {
    this.#checkUp()
    const nowMs = this.#clock.wallMs()
    const flags = new Map([...this.#flags].filter(([, { untilMs }]) => untilMs > nowMs))
    const history: PastFlagChange[] = []
    for (const { forMs, ...change } of changes) {
      const key = flagKey(change)
      const changeId = this.#history.length + history.length + 1
      const { kind, ...words } = change
      if (kind === 'unset') {
        if (flags.delete(key)) {
          history.push({ ...change, changeId, atMs: nowMs, untilMs: undefined })
        }
        continue
      }
      const untilMs = nowMs + forMs
      flags.set(key, { ...words, changeId, setAtMs: nowMs, untilMs, leftMs: forMs })
      history.push({ ...change, changeId, atMs: nowMs, untilMs })
    }
    if (flags.size > mostFlags) {
      throw new LockstepError('OPTION_INVALID', `${mostFlags} flags are set; unset some`)
    }
    this.#flags = flags
    this.#history.push(...history)
    return this.read()
  }

  async history(limit: number): Promise<readonly PastFlagChange[]> {
    this.#checkUp()
    return this.#history.toReversed().slice(0, limit)
  }

  async report({ instance, applied }: FlagReport): Promise<void> {
    this.#checkUp()
    this.#reports.set(instance, applied)
  }

  async reports(): Promise<readonly FlagReport[]> {
    this.#checkUp()
    return [...this.#reports].map(([instance, applied]) => ({ instance, applied }))
  }

  #checkUp(): void {
    if (this.down) throw this.down
  }
}

export class MemoryFlagMirror implements FlagMirror {
  readonly #clock: Clock
  #kept: FlagState | undefined
  #changes: readonly LoneChange[] = []
  readonly #listeners: (() => void)[] = []
  /** Why it can't be asked; `undefined` when it can. */
  down: Error | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  async keep(state: FlagState): Promise<void> {
    this.#checkUp()
    if (this.#kept && this.#kept.revision > state.revision) return
    this.#kept = state
    this.#changes = []
  }

  async change(changes: readonly FlagChange[]): Promise<void> {
    this.#checkUp()
    const atMs = this.#clock.wallMs()
    const all = [...this.#changes, ...changes.map((change) => ({ ...change, atMs }))]
    if (JSON.stringify(all).length > mostLoneBytes) {
      throw new LockstepError('OPTION_INVALID', 'too many flags were changed; fewer would do')
    }
    this.#changes = all
  }

  async read(): Promise<FlagState | undefined> {
    this.#checkUp()
    if (!this.#kept && this.#changes.length === 0) return undefined
    return mirroredState(this.#kept, this.#changes, this.#clock.wallMs())
  }

  async announce(): Promise<void> {
    this.#checkUp()
    for (const look of this.#listeners) look()
  }

  listen(look: () => void): void {
    this.#listeners.push(look)
  }

  #checkUp(): void {
    if (this.down) throw this.down
  }
}
