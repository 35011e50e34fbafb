/** What is the same of every membership of a consumer group. */

export const requestTimeoutMs = 3_000
/** A broker may wait 3 s before it lets the first member of a group begin. */
export const joinDeadlineMs = 15_000
export const leaveDeadlineMs = 1_000
export const heartbeatMs = 2_000

/** In the words of KafkaJS. */
export const membership = {
  allowAutoTopicCreation: false,
  /** An answer is there as soon as a record is; without one, this long after it was asked for. */
  maxWaitTimeInMs: 500,
  maxBytesPerPartition: 1024 * 1024,
  sessionTimeout: 10_000,
  heartbeatInterval: heartbeatMs,
  rebalanceTimeout: joinDeadlineMs,
} as const
