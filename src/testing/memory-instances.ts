import type { Instances } from '../model/outbox-port.ts'
import { type Snapshot, visible, type WriteId } from '../model/snapshot.ts'
import type { MemoryDatabase } from './memory-database.ts'

/** Who runs, beside a database in memory. */
export class MemoryInstances implements Instances {
  readonly #database: MemoryDatabase
  readonly #actedOn = new Map<string, Snapshot | undefined>()

  constructor(database: MemoryDatabase) {
    this.#database = database
  }

  async join(instance: string, signal: AbortSignal): Promise<void> {
    await this.#database.travel(signal)
    this.#actedOn.set(instance, this.#actedOn.get(instance))
  }

  async leave(instance: string, signal: AbortSignal): Promise<void> {
    await this.#database.travel(signal)
    this.#actedOn.delete(instance)
  }

  async askAll(signal: AbortSignal): Promise<void> {
    this.#database.isAwaited = true
    await this.#database.notify(signal)
  }

  async acknowledge(instance: string, snapshot: Snapshot, signal: AbortSignal): Promise<void> {
    await this.#database.travel(signal)
    if (this.#actedOn.has(instance)) this.#actedOn.set(instance, snapshot)
  }

  async isEverywhere(write: WriteId, signal: AbortSignal): Promise<boolean> {
    await this.#database.travel(signal)
    return [...this.#actedOn.values()].every((snapshot) => snapshot && visible(write, snapshot))
  }
}
