/** Flags as a mirror has them: what PostgreSQL had, and what was changed without it. */
import { type FlagChange, type FlagState, flagKey, isFlagName, type KeptFlag } from './flags.ts'

/** A change that PostgreSQL does not know. */
export interface LoneChange extends FlagChange {
  /** By the clock of who made it. */
  readonly atMs: number
}

/** Longer than any flag lasts. */
export const mirroredForMs = 8 * 24 * 3_600_000
export const mostLoneBytes = 64 * 1024

/** What is set, by this clock; of several changes of one flag the last counts. */
export function mirroredState(
  kept: FlagState | undefined,
  changes: readonly LoneChange[],
  nowMs: number,
): FlagState {
  const flags = new Map<string, KeptFlag>()
  for (const flag of kept?.flags ?? []) flags.set(flagKey(flag), flag)
  for (const { kind, forMs, atMs, ...words } of changes) {
    const key = flagKey(words)
    flags.delete(key)
    // Later than any that PostgreSQL has counted up to.
    if (kind === 'set') {
      const times = { changeId: atMs, setAtMs: atMs, untilMs: atMs + forMs, leftMs: 0 }
      flags.set(key, { ...words, ...times })
    }
  }
  const left = [...flags.values()]
    .map((flag) => ({ ...flag, leftMs: flag.untilMs - nowMs }))
    .filter(({ leftMs }) => leftMs > 0)
  return { revision: kept?.revision ?? 0, flags: left }
}

/** `undefined` for what nobody here has written. */
export function parseKept(text: string): FlagState | undefined {
  const [revision = '', document = ''] = splitOnce(text)
  const flags = parsed(document)
  if (!/^\d{1,15}$/.test(revision) || !Array.isArray(flags)) return undefined
  return { revision: Number(revision), flags: flags.filter(isKept) }
}

export function formatKept({ revision, flags }: FlagState): string {
  return `${revision}\n${JSON.stringify(flags)}`
}

export function parseChanges(text: string): readonly LoneChange[] {
  return text.split('\n').map(parsed).filter(isLone)
}

function splitOnce(text: string): readonly string[] {
  const end = text.indexOf('\n')
  return end < 0 ? [text] : [text.slice(0, end), text.slice(end + 1)]
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isKept(value: unknown): value is KeptFlag {
  const { changeId, setAtMs, untilMs } = (value ?? {}) as Partial<KeptFlag>
  return isWorded(value) && [changeId, setAtMs, untilMs].every(Number.isFinite)
}

function isLone(value: unknown): value is LoneChange {
  const { kind, forMs, atMs } = (value ?? {}) as Partial<LoneChange>
  const isKind = kind === 'set' || kind === 'unset'
  return isWorded(value) && isKind && [forMs, atMs].every(Number.isFinite)
}

function isWorded(value: unknown): boolean {
  if (value === null || typeof value !== 'object') return false
  const { flag, reason, author, by, entity, instance } = value as Partial<KeptFlag>
  return (
    isFlagName(flag) &&
    [reason, author, by].every((text) => typeof text === 'string') &&
    [entity, instance].every((text) => text === undefined || typeof text === 'string')
  )
}
