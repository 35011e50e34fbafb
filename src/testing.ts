export type {
  RecordedCall,
  RecordedLoad,
  RecordedRead,
  RecordedWrite,
  Recorder,
} from './testing/recorder.ts'
export type { Table, Tables } from './testing/tables.ts'
export { type TestCache, type TestCacheOptions, testCache } from './testing/test-cache.ts'
export type { TestClock } from './testing/test-clock.ts'
export type { Trouble } from './testing/trouble.ts'
