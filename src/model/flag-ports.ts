/** Where flags are kept, and where else they are known. */
import type { FlagChange, FlagReport, FlagState, PastFlagChange } from './flags.ts'

/** PostgreSQL: what is set, and the history of it. Each call rejects when it has no answer. */
export interface FlagStore {
  read(signal: AbortSignal): Promise<FlagState>
  /**
   * All changes or none, in their order, each also to the history for good; what is unset without
   * being set leaves no trace. Of two that change the same flag at once the last one wins. Rejects
   * with `OPTION_INVALID` for a namespace that no cache has, or when too many are set.
   */
  change(changes: readonly FlagChange[], signal: AbortSignal): Promise<FlagState>
  /** The newest first. */
  history(limit: number, signal: AbortSignal): Promise<readonly PastFlagChange[]>
  /** An instance says what it applies; forgotten with the instance. */
  report(report: FlagReport, signal: AbortSignal): Promise<void>
  /** Of those that were heard of in the last half minute. */
  reports(signal: AbortSignal): Promise<readonly FlagReport[]>
}

/**
 * Redis: what PostgreSQL had when somebody last looked, for those who can't ask it. Each call rejects
 * when it has no answer.
 */
export interface FlagMirror {
  /** What PostgreSQL has, unless something newer lies there; what was set without PostgreSQL goes. */
  keep(state: FlagState, signal: AbortSignal): Promise<void>
  /**
   * Changes what lies there while PostgreSQL can't be asked: it lasts until that can be, and `keep` is
   * called. Rejects with `OPTION_INVALID` when there are too many.
   */
  change(changes: readonly FlagChange[], signal: AbortSignal): Promise<void>
  /** What lies there, with its changes; `undefined`: nothing does. */
  read(signal: AbortSignal): Promise<FlagState | undefined>
  /** Tells all instances to look again; may be lost. */
  announce(signal: AbortSignal): Promise<void>
  listen(look: () => void): void
}
