import type { Tombstone } from '../model/l2-port.ts'

export interface StoredFence {
  nonce: string
  owner: string | undefined
  untilMs: number | undefined
  isAwaited: boolean
  /** By field: t or m, incarnation, xid; when it was told. */
  readonly tombstones: Map<string, Tombstone & { readonly toldAtMs: number }>
  expiresAtMs: number
}

export const copyOf = (fence: StoredFence): StoredFence => ({
  ...fence,
  tombstones: new Map(fence.tombstones),
})
