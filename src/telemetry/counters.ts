/** What one entity's reads came to, in plain numbers: a hit counts without a call. */
export interface ReadCounters {
  l1Hits: number
  l1StaleHits: number
  l2Hits: number
  l2StaleHits: number
  sourceReads: number
  failedReads: number
  /** Calls of the loader, and the ids they were for. */
  loads: number
  loadedIds: number
  loadFailures: number
  fills: number
  refusedFills: number
  corruptValues: number
  tooBigValues: number
}

export function newReadCounters(): ReadCounters {
  return {
    l1Hits: 0,
    l1StaleHits: 0,
    l2Hits: 0,
    l2StaleHits: 0,
    sourceReads: 0,
    failedReads: 0,
    loads: 0,
    loadedIds: 0,
    loadFailures: 0,
    fills: 0,
    refusedFills: 0,
    corruptValues: 0,
    tooBigValues: 0,
  }
}
