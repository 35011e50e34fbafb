import type { L1Key } from './id.ts'

/**
 * 31 well-mixed bits of a key, which V8 keeps in an entry itself: FNV-1a for text, a multiplicative
 * mix for numbers (MurmurHash3's finalizer).
 */
export function hashOf(key: L1Key): number {
  let hash = 0x811c9dc5
  if (typeof key === 'number') {
    hash = (key | 0) ^ Math.trunc(key / 2 ** 32)
    if (!Number.isInteger(key)) return hashOf(String(key))
  } else {
    for (let index = 0; index < key.length; index++) {
      hash = Math.imul(hash ^ key.charCodeAt(index), 0x01000193)
    }
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 1
}
