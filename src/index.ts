export type { JoinedWriteResult, WriteResult } from './coordinator/write.ts'
export type { CacheHealth } from './health.ts'
export { lockstep } from './lockstep.ts'
export type { Clock } from './model/clock.ts'
export type { Codec } from './model/codec.ts'
export type { Timing } from './model/defaults.ts'
export type { Duration } from './model/duration.ts'
export type { Entity, EntityOptions, LoadContext } from './model/entity.ts'
export { type ErrorCode, LockstepError, PartialReadError } from './model/errors.ts'
export type {
  FlagName,
  FlagScope,
  FlagSetter,
  SetFlagOptions,
  UnsetFlagOptions,
} from './model/flags.ts'
export type { Logger } from './model/log.ts'
export { mergeTickets, type Ticket } from './model/ticket.ts'
export type { FlagHistoryEntry, FlagInfo, FlagsChanged } from './operations/flag-board.ts'
export type { SloRule } from './operations/slo.ts'
export type { Db, Tx } from './postgres/pool.ts'
export type { PrometheusOptions, PrometheusPlace } from './prometheus/options.ts'
export {
  type EventsPublisher,
  type PublisherOptions,
  type PublishOptions,
  publisher,
} from './publisher.ts'
export type { HopOptions, HopsOptions } from './resilience/hop-settings.ts'
export type { HopHealth, HopsHealth } from './running-hops.ts'
export type { CacheEvents } from './telemetry/events.ts'
export {
  type Cache,
  type EntityCache,
  type EntityStats,
  type EntryInfo,
  entity,
  type FlagMethods,
  type Invalidated,
  type JoinedInvalidated,
  type JoinedWriteOptions,
  type Key,
  type LimitRange,
  type LockstepOptions,
  type ReadOptions,
  type Warmed,
  type WarmOptions,
  type WriteOptions,
} from './types.ts'
export { wrapRepository } from './wrap.ts'
export type { WrapOptions, WrappedRead, WrappedWrite, Written } from './wrap-types.ts'
