/** Values on their way between the tiers: bytes for Redis, candidates for L1, answers for callers. */
import { compress, decompress } from '../model/compression.ts'
import { ttlJitter } from '../model/defaults.ts'
import type { AnyEntity } from '../model/entity.ts'
import { LockstepError, messageOf } from '../model/errors.ts'
import { noFlags, type Switches } from '../model/flags.ts'
import { deepCopy, deepFreeze } from '../model/freeze.ts'
import type { L1Key } from '../model/id.ts'
import type { Candidate } from '../model/l1-port.ts'
import type { Fill, Stored } from '../model/l2-port.ts'
import type { Snapshot } from '../model/snapshot.ts'

/** What a caller gets of a candidate: the shared value, or a copy of its own. */
export function valueFor(candidate: Candidate): unknown {
  return candidate.isShared ? candidate.value : deepCopy(candidate.value)
}

/** How long after its soft expiry a value may still be served: what does not exist has no grace. */
export function graceOf(entity: AnyEntity, value: unknown, switches: Switches = noFlags): number {
  if (value === undefined) return 0
  return switches['serve.stale'] ? entity.staleGraceMs : entity.graceMs
}

/** A value that came out of L2; `undefined` when its bytes are none that `forL2` made, or it is too big to lie there. */
export function candidateFromL2(
  entity: AnyEntity,
  stored: Stored,
  nowMs: number,
): Candidate | undefined {
  if (stored.form === 'too-big') return undefined
  try {
    const payload =
      stored.form === 'compressed'
        ? decompress(stored.payload as Buffer, entity.maxValueBytes)
        : stored.payload
    const value = payload && entity.codec.decode(payload)
    return {
      value,
      isShared: share(entity, value),
      snapshot: stored.snapshot,
      loadedAtMs: nowMs - stored.ageMs,
      freshUntilMs: nowMs + stored.freshForMs,
      weightBytes: payload?.length ?? 0,
    }
  } catch {
    return undefined
  }
}

/** One id's outcome of a load. */
export interface LoadedValue {
  /** `undefined`: the id does not exist. */
  readonly payload: Buffer | undefined
  readonly candidate: Candidate
  readonly ttlMs: number
  /** Too big to be kept: it is answered, and L2 keeps that it is. */
  readonly isTooBig: boolean
}

/** A row passes the codec once, so that every tier answers with the same types. */
export function loadedValue(
  entity: AnyEntity,
  row: unknown,
  snapshot: Snapshot,
  loadedAtMs: number,
  random: () => number,
): LoadedValue {
  const payload = row === undefined ? undefined : encode(entity, row)
  const value = payload && entity.codec.decode(payload)
  const ttlMs =
    (payload ? entity.ttlMs : entity.negativeTtlMs) * (1 + ttlJitter * (2 * random() - 1))
  return {
    payload,
    ttlMs,
    isTooBig: (payload?.length ?? 0) > entity.maxValueBytes,
    candidate: {
      value,
      isShared: share(entity, value),
      snapshot,
      loadedAtMs,
      freshUntilMs: loadedAtMs + ttlMs,
      weightBytes: payload?.length ?? 0,
    },
  }
}

/** What L2 gets of it: compressed where that pays, or the verdict that it is too big, for its ttl and no longer. */
export function forL2(
  entity: AnyEntity,
  { candidate, payload, ttlMs, isTooBig }: LoadedValue,
  switches: Switches = noFlags,
): Pick<Fill, 'payload' | 'form' | 'ttlMs' | 'graceMs'> {
  if (isTooBig) return { payload: undefined, form: 'too-big', ttlMs, graceMs: 0 }
  const graceMs = graceOf(entity, candidate.value, switches)
  const small =
    payload && payload.length > entity.compressAboveBytes ? compress(payload) : undefined
  return { payload: small ?? payload, form: small && 'compressed', ttlMs, graceMs }
}

/** The rows of a load by id; throws `LOADER_INVALID` for what can't be told apart. */
export function rowsById(
  entity: AnyEntity,
  rows: readonly unknown[],
  wanted: ReadonlySet<L1Key>,
): ReadonlyMap<L1Key, unknown> {
  const invalid = (what: string): LockstepError =>
    new LockstepError('LOADER_INVALID', `the loader of entity "${entity.name}" returned ${what}`)
  if (!Array.isArray(rows)) throw invalid(`${rows === null ? 'null' : typeof rows} instead of rows`)
  const byId = new Map<L1Key, unknown>()
  for (const row of rows) {
    if (row === undefined || row === null) continue
    const key = keyOfRow(entity, row)
    // A loader may return more than it was asked for; only what was asked for has a lease.
    if (!wanted.has(key)) continue
    if (byId.has(key)) throw invalid(`two rows for id ${JSON.stringify(key)}`)
    byId.set(key, row)
  }
  return byId
}

/** The L1 key of a row that a loader or a write returned. */
export function keyOfRow(entity: AnyEntity, row: unknown): L1Key {
  try {
    return entity.keyOf(entity.idOf(row))
  } catch (cause) {
    throw new LockstepError(
      'LOADER_INVALID',
      `a row of entity "${entity.name}" has no usable id: ${messageOf(cause)}`,
      { cause },
    )
  }
}

function encode(entity: AnyEntity, row: unknown): Buffer {
  try {
    return entity.codec.encode(row)
  } catch (cause) {
    throw new LockstepError(
      'VALUE_NOT_ENCODABLE',
      `a value of entity "${entity.name}" can't be cached: ${messageOf(cause)}`,
      { cause },
    )
  }
}

function share(entity: AnyEntity, value: unknown): boolean {
  if (entity.values === 'shared' || value === undefined) return true
  return entity.values === 'frozen' && deepFreeze(value)
}
