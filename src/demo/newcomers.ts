/**
 * Cities that come into being while the filter says of others that they don't exist. Each is looked
 * for by one read that the filter may refuse: here or in another process, at once or a while later.
 * That the filter has it is promised as soon as its insert has returned `fenced: true` (I6).
 */
import { randomInt } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import { messageOf } from '../model/errors.ts'
import type { Pool } from '../postgres/pool.ts'
import { type City, type CityCache, schema } from './city.ts'
import type { HistoryWriter } from './history.ts'

/** Above the rows that are always there, below the ids that never are. */
const newIds = { first: 1_000_000_000, count: 500_000_000 }
const pauseMs = 50
const mostHanded = 1_000
/** Those that are looked for later wait until so many have come after them. */
const mostWaiting = 20
/** No city has it before it is inserted. */
const firstVersion = 1

export interface NewcomersOptions {
  readonly cache: Pick<CityCache, 'city'>
  readonly history: Pick<HistoryWriter, 'add'>
  readonly random: () => number
  readonly nowNs: () => number
  /** As `newcomersOf` has it. */
  readonly run: string
  /** Has another process look for it; absent: there is none. */
  readonly handOver: ((id: number) => void) | undefined
  readonly room: () => Promise<void> | undefined
  readonly tell: (news: string) => void
}

export class Newcomers {
  readonly #options: NewcomersOptions
  readonly #waiting: number[] = []
  #handed: number[] = []
  /** Reads that were asked for. */
  calls = 0
  found = 0
  /** Rows that exist, and were said not to. */
  absent = 0
  failedReads = 0
  failedWrites = 0
  firstFailure: string | undefined

  constructor(options: NewcomersOptions) {
    this.#options = options
  }

  /** Until `seconds` after the run began, or the signal; never rejects. */
  async run(seconds: number, signal: AbortSignal): Promise<void> {
    const { nowNs, room } = this.#options
    for (;;) {
      await setTimeout(pauseMs)
      await room()
      if (signal.aborted || nowNs() >= seconds * 1e9) break
      const handed = this.#handed
      this.#handed = []
      await Promise.all([this.#found(), ...handed.map((id) => this.#lookFor(id))])
    }
    await Promise.all(this.#waiting.splice(0).map((id) => this.#lookFor(id)))
  }

  /** A row that another process has inserted. */
  take(id: number): void {
    if (this.#handed.length < mostHanded) this.#handed.push(id)
  }

  /** Founds a city, and has it looked for. */
  async #found(): Promise<void> {
    const { handOver, random } = this.#options
    const id = await this.#insert()
    if (id === undefined) return
    const draw = random()
    if (draw < 1 / 3) await this.#lookFor(id)
    else if (draw < 2 / 3 && handOver) handOver(id)
    else if (this.#waiting.push(id) > mostWaiting) {
      await this.#lookFor(this.#waiting.shift() as number)
    }
  }

  /** `undefined`: Redis was not told in time, or it failed. */
  async #insert(): Promise<number | undefined> {
    const { cache, history, nowNs, run } = this.#options
    const id = newIds.first + randomInt(newIds.count)
    const startNs = nowNs()
    try {
      const { fenced } = await cache.city.write(id, (tx) =>
        tx<City>(`${schema}.cities`).insert({ ...newCity, id, admin2: run }),
      )
      history.add({ kind: 'write', id, version: firstVersion, startNs, endNs: nowNs(), fenced })
      return fenced ? id : undefined
    } catch (error) {
      this.firstFailure ??= messageOf(error)
      this.failedWrites++
      return undefined
    }
  }

  async #lookFor(id: number): Promise<void> {
    const { cache, history, nowNs, tell } = this.#options
    this.calls++
    const startNs = nowNs()
    try {
      const { value, tier, proven: isProven } = await cache.city.getEntry(id)
      const version = value?.version ?? 0
      const read = { kind: 'read', id, version, startNs, endNs: nowNs(), tier, isProven } as const
      history.add({ ...read, consistency: 'bounded', ticketVersion: 0 })
      if (value) this.found++
      else {
        this.absent++
        tell(`the new row ${id} was said not to exist (by ${tier})`)
      }
    } catch (error) {
      this.firstFailure ??= messageOf(error)
      this.failedReads++
    }
  }
}

const newCity = {
  name: 'New City',
  country: 'FR',
  admin1: '',
  lat: 0,
  lng: 0,
  version: firstVersion,
}

/** What tells the rows of this run from those of others that may be under way. */
export function newcomersOf(seed: number): string {
  return `demo ${seed}`
}

export async function removeNewcomers(pool: Pool, seed: number): Promise<void> {
  const rows = pool.knex(`${schema}.cities`).where('id', '>=', newIds.first)
  await rows.where('admin2', newcomersOf(seed)).delete()
}
