/** The ports in memory are published, in `src/testing`; here they have one address for all tests. */
export { MemoryDatabase } from '../../src/testing/memory-database.ts'
export { MemoryInstances } from '../../src/testing/memory-instances.ts'
export { type L2Call, memoryL2 } from '../../src/testing/memory-l2.ts'
export { MemoryRedis } from '../../src/testing/memory-redis.ts'
export {
  type MemoryDb,
  type MemoryTx,
  memorySource,
  RetryableError,
} from '../../src/testing/memory-source.ts'
