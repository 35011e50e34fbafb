/** A listener of a log that remembers all it was told, and can be waited for. */
import type { LoggedWrite, LogListener, LogRecord } from '../../src/model/bus-ports.ts'
import { until } from './world.ts'

type Told =
  | { readonly kind: 'positioned'; readonly partitions: number }
  | { readonly kind: 'heard'; readonly partition: number; readonly record: LogRecord }
  | { readonly kind: 'lost'; readonly reason: string; readonly error: unknown }

export class Ear implements LogListener {
  readonly told: Told[] = []

  positioned(partitions: number): void {
    this.told.push({ kind: 'positioned', partitions })
  }

  heard(partition: number, record: LogRecord): void {
    this.told.push({ kind: 'heard', partition, record })
  }

  lost(reason: string, error?: unknown): void {
    this.told.push({ kind: 'lost', reason, error })
  }

  get records(): { partition: number; record: LogRecord }[] {
    return this.told.flatMap((one) => (one.kind === 'heard' ? [one] : []))
  }

  get writes(): (LoggedWrite & { partition: number })[] {
    return this.records.flatMap(({ partition, record }) =>
      record.kind === 'write' ? [{ ...record, partition }] : [],
    )
  }

  count(kind: Told['kind']): number {
    return this.told.filter((one) => one.kind === kind).length
  }

  async until(what: string, isSo: (ear: this) => boolean, withinMs = 15_000): Promise<void> {
    await until(what, () => isSo(this), withinMs)
  }

  /** Waits until it has its place again, for the nth time. */
  async positionedTimes(times: number, withinMs?: number): Promise<void> {
    await this.until(`positioned ${times} times`, () => this.count('positioned') >= times, withinMs)
  }
}
