/**
 * A miss (DESIGN §4.4–4.6): acquire, load, fill. One load per id and process (flights), and one per
 * id and cluster (leases) but for pending tombstones, which nobody waits on.
 */
import type { L1Key } from '../model/id.ts'
import type { Fill, FillAnswer, Grant, Lease, Lookup } from '../model/l2-port.ts'
import { everyVisible } from '../model/ticket.ts'
import { Turn } from '../resilience/limiter.ts'
import { needsProof, takeFromL2 } from './answer-from-l2.ts'
import { type Flight, type Landed, newFlight } from './flight.ts'
import { type Labelled, type Leased, label, pendingAmong } from './label.ts'
import { Leases, leaseMsFor } from './leases.ts'
import { query } from './query.ts'
import { TooBig } from './too-big.ts'
import { forL2, type LoadedValue, loadedValue } from './values.ts'
import { type ReadContext, rankOfAll, type Wanted, type WantedGroup } from './wanted.ts'

/** A waiter that hears nothing looks again after this: a lost wake-up must not cost a lease. */
const longestPollMs = 100

export interface Landing {
  deliver(wanted: Wanted, landed: Landed): void
  /** The reader has to look again. */
  again(wanted: Wanted): void
}

/** An id that this process loads. */
interface Owned extends Leased {
  readonly flight: Flight
  readonly mayBeKept: boolean
}

/** An id that another process loads. */
interface Waiting {
  readonly owned: Owned
  readonly grant: Grant & { readonly kind: 'wait' }
}

export class Loader {
  readonly #context: ReadContext
  readonly #landing: Landing
  readonly #flights = new Map<L1Key, Flight>()
  readonly #leases: Leases
  readonly #tooBig: TooBig

  constructor(context: ReadContext, landing: Landing) {
    this.#context = context
    this.#landing = landing
    this.#leases = new Leases(context)
    this.#tooBig = new TooBig(context)
  }

  flightOf(key: L1Key): Flight | undefined {
    return this.#flights.get(key)
  }

  async load(groups: readonly WantedGroup[]): Promise<void> {
    if (groups.length === 0) return
    const owned = groups.map((group) => this.#takeOff(group)).filter((one) => !this.#isShed(one))
    const { switches } = this.#context
    // Who may not fill holds nobody else up with a lease.
    const isApart = (one: Owned): boolean =>
      one.isApart || switches['fill.off'] || switches['l2.bypass']
    const apart = owned.filter(isApart)
    const insisting = owned.filter((one) => !isApart(one) && one.insist)
    const asking = owned.filter((one) => !isApart(one) && !one.insist)
    try {
      await Promise.all([
        this.#loadOwned(apart),
        this.#acquireAndLoad(insisting, true),
        this.#acquireAndLoad(asking, false),
      ])
    } catch (error) {
      for (const one of owned) this.#crash(one, error)
    }
  }

  #takeOff(group: WantedGroup): Owned {
    const flight = newFlight(rankOfAll(group.readers), group.isInL2)
    this.#flights.set(group.key, flight)
    const mayBeKept = this.#mayBeKept(group)
    // Nobody waits for a load that will leave nothing.
    return { ...group, flight, lease: undefined, mayBeKept, isApart: group.isApart || !mayBeKept }
  }

  /** Redis is not asked for the lease of a load that would not be begun. */
  #isShed(owned: Owned): boolean {
    const error = this.#context.limiter.turnAway(owned.flight.rank)
    if (error) this.#crash(owned, error)
    return error !== undefined
  }

  #land(owned: Owned, landed: Landed | undefined): void {
    owned.flight.loaded.resolve(landed)
    owned.flight.landed.resolve(landed)
    this.#forget(owned)
  }

  #crash(owned: Owned, error: unknown): void {
    owned.flight.loaded.reject(error)
    owned.flight.landed.reject(error)
    this.#forget(owned)
    for (const wanted of owned.readers) wanted.answer?.reject(error)
  }

  #forget(owned: Owned): void {
    if (this.#flights.get(owned.key) === owned.flight) this.#flights.delete(owned.key)
  }

  // ---- 4. acquire

  async #acquireAndLoad(owned: readonly Owned[], insist: boolean): Promise<void> {
    const { l2, entity, probes } = this.#context
    const { incarnation } = probes
    if (owned.length === 0) return
    if (!l2 || !incarnation) return this.#loadOwned(owned)
    const grants = await l2.acquire(
      entity,
      owned.map(({ text }) => text),
      { incarnation, leaseMs: leaseMsFor(owned.length), insist },
    )
    const toLoad: Owned[] = []
    const toWait: Waiting[] = []
    for (const [index, one] of owned.entries()) {
      const grant = grants[index] as Grant
      switch (grant.kind) {
        case 'value':
          if (grant.stored.form === 'too-big') toLoad.push(one)
          else this.#landFromL2(one, grant)
          break
        case 'lease':
          toLoad.push({ ...one, lease: grant })
          break
        case 'wait':
          toWait.push({ owned: one, grant })
          break
        case 'unavailable':
          toLoad.push(one)
          break
        default:
          grant satisfies never
      }
    }
    await Promise.all([this.#loadDue(toLoad), this.#waitOrLoad(toWait)])
  }

  /**
   * Who refreshes early gets a lease whatever lies there. Somebody else may have refreshed it between
   * the look at L2 and the lease: then that is taken, and only one process of all has loaded.
   */
  async #loadDue(leased: readonly Owned[]): Promise<void> {
    const { l2, entity, probes, ahead, clock } = this.#context
    const early = leased.filter(({ isEarly, lease }) => isEarly && lease)
    if (!l2 || early.length === 0) return this.#loadOwned(leased)
    const lookups = await l2.lookup(
      entity,
      early.map(({ text }) => text),
    )
    const isDone = (owned: Owned, lookup: Lookup | undefined): boolean => {
      if (lookup?.kind !== 'fresh') return false
      if (lookup.stored.snapshot.incarnation !== probes.incarnation) return false
      const found = takeFromL2(this.#context, owned, lookup.stored)
      return found !== undefined && !ahead.isDue(found.candidate, clock.monotonicMs())
    }
    const done = new Set(early.filter((owned, index) => isDone(owned, lookups[index])))
    for (const owned of done) this.#land(owned, undefined)
    await Promise.all([
      this.#release([...done]),
      this.#loadOwned(leased.filter((owned) => !done.has(owned))),
    ])
  }

  /** Somebody filled it meanwhile: after these readers began, so it is fresh enough for each. */
  #landFromL2(owned: Owned, { stored }: Grant & { kind: 'value' }): void {
    const found = takeFromL2(this.#context, owned, stored)
    this.#land(owned, undefined)
    for (const wanted of owned.readers) {
      const mayHave =
        found &&
        everyVisible(wanted.tickets, found.candidate.snapshot) &&
        (found.isProven || !needsProof(this.#context.entity, wanted))
      if (mayHave) this.#landing.deliver(wanted, { ...found, tier: 'l2', loadTurn: 0, fillTurn: 0 })
      else this.#landing.again(wanted)
    }
  }

  /** Somebody else loads these; but where a write is pending nobody can fill, and nobody waits. */
  async #waitOrLoad(waiting: readonly Waiting[]): Promise<void> {
    if (waiting.length === 0) return
    const isPending = await pendingAmong(
      this.#context,
      waiting.map(({ grant }) => grant.tombstones),
    )
    const apart = waiting.filter((_, index) => isPending[index]).map(({ owned }) => owned)
    const waits = waiting.filter((_, index) => !isPending[index]).map((one) => this.#wait(one))
    await Promise.all([this.#loadOwned(apart), ...waits])
  }

  async #wait({ owned, grant }: Waiting): Promise<void> {
    const { l2, entity, closing } = this.#context
    if (owned.readers.some(({ answer }) => answer)) {
      await l2?.filled(entity, owned.text, Math.min(grant.pollAfterMs + 1, longestPollMs), closing)
    }
    this.#land(owned, undefined)
    for (const wanted of owned.readers) this.#landing.again(wanted)
  }

  // ---- 5. load

  async #loadOwned(owned: readonly Owned[]): Promise<void> {
    if (!this.#context.source.replicas?.isReady) return this.#loadFrom('primary', owned)
    // A replica may show a write before the primary does: two strong reads, one of each, would see
    // it come and go.
    const isStrong = ({ readers }: Owned): boolean => readers.some((wanted) => wanted.isStrong)
    await Promise.all([
      this.#loadFrom('primary', owned.filter(isStrong)),
      this.#loadFrom(
        'replica',
        owned.filter((one) => !isStrong(one)),
      ),
    ])
  }

  async #loadFrom(place: 'primary' | 'replica', owned: readonly Owned[]): Promise<void> {
    if (owned.length === 0) return
    const { clock, entity } = this.#context
    // A replica may show no more than the snapshot for it sees, however long the load waits for its turn.
    if (place === 'replica') for (const { flight } of owned) flight.askedAtMs = clock.monotonicMs()
    await this.#leases.during(leasesOf(owned), async () => {
      const labelled = await label(this.#context, owned, place === 'replica')
      const chunks: Owned[][] = []
      for (let start = 0; start < owned.length; start += entity.maxBatch) {
        chunks.push(owned.slice(start, start + entity.maxBatch))
      }
      await Promise.all(chunks.map((chunk) => this.#loadChunk(chunk, labelled)))
    })
  }

  async #loadChunk(chunk: readonly Owned[], labelled: Labelled): Promise<void> {
    const { ahead, clock, turns } = this.#context
    const loadedAtMs = clock.monotonicMs()
    const turn = new Turn(Math.min(...chunk.map(({ flight }) => flight.turn.rank)))
    for (const { flight } of chunk) flight.turn = turn
    let loadTurn = 0
    let askedAtMs = loadedAtMs
    const asking = (isReplicaFirst: boolean): void => {
      loadTurn = turns.next()
      askedAtMs = clock.monotonicMs()
      if (!isReplicaFirst) for (const { flight } of chunk) flight.askedAtMs = askedAtMs
    }
    try {
      const { least } = labelled
      const { rows, snapshot, isFromReplica } = await query(this.#context, chunk, {
        ...{ least, turn, asking },
      })
      ahead.loaded(clock.monotonicMs() - askedAtMs)
      const label = { ...labelled, snapshot: snapshot ?? labelled.snapshot }
      await this.#landLoaded(chunk, rows, label, isFromReplica ? 0 : loadTurn, loadedAtMs)
    } catch (error) {
      for (const one of chunk) this.#crash(one, error)
      await this.#release(chunk)
    }
  }

  // ---- 6. fill

  async #landLoaded(
    chunk: readonly Owned[],
    rows: ReadonlyMap<L1Key, unknown>,
    labelled: Labelled,
    loadTurn: number,
    loadedAtMs: number,
  ): Promise<void> {
    const { entity, region, counters, random, clock, switches } = this.#context
    const landed: { owned: Owned; landed: Landed; fill: Fill }[] = []
    const kept: Owned[] = []
    for (const owned of chunk) {
      let value: LoadedValue
      try {
        value = loadedValue(entity, rows.get(owned.key), labelled.snapshot, loadedAtMs, random)
      } catch (error) {
        this.#crash(owned, error)
        kept.push(owned)
        continue
      }
      const { candidate } = value
      if (owned.isMaybe && candidate.value === undefined) counters.falsePositives++
      const outcome: Landed = { candidate, tier: 'source', isProven: true, loadTurn, fillTurn: 0 }
      const { mayBeKept } = owned
      if (!mayBeKept) counters.uncachedKeys++
      if (value.isTooBig) {
        this.#tooBig.loaded(owned, value)
        // A smaller one of before would be served, and loaded anew behind, until the end of its grace.
        region.dropOlder(owned.key, candidate.snapshot)
      } else if (mayBeKept) region.fillFromSource(owned.key, candidate)
      owned.flight.loaded.resolve(outcome)
      for (const wanted of owned.readers) this.#landing.deliver(wanted, outcome)
      if (!owned.lease || !labelled.mayFill(owned)) {
        this.#land(owned, outcome)
        kept.push(owned)
        continue
      }
      const { lease } = owned
      const { over } = labelled
      const parts = forL2(entity, value, switches)
      const ageMs = clock.monotonicMs() - loadedAtMs
      const fill = { ...parts, lease, snapshot: candidate.snapshot, ageMs, over }
      landed.push({ owned, landed: outcome, fill })
    }
    await Promise.all([this.#release(kept), this.#fill(landed)])
  }

  /** Too many new keys in one minute are kept nowhere. */
  #mayBeKept({ key, readers }: WantedGroup): boolean {
    const { clock, newKeys, region } = this.#context
    // What is loaded anew was there before, and what is warmed nobody outside has made up.
    const mayBeMadeUp = readers.some(({ answer, loadClass }) => answer && loadClass !== 'warm-up')
    const isNew = mayBeMadeUp && region.find(key) === undefined
    return !isNew || newKeys.admits(key, clock.monotonicMs())
  }

  async #fill(loaded: readonly { owned: Owned; landed: Landed; fill: Fill }[]): Promise<void> {
    const { l2, entity, turns, counters, events } = this.#context
    if (!l2 || loaded.length === 0) return
    const fillTurn = turns.next()
    const answers = await l2.fill(
      entity,
      loaded.map(({ fill }) => fill),
    )
    for (const [index, { owned, landed }] of loaded.entries()) {
      const answer = answers[index] as FillAnswer
      counters.fills[answer]++
      this.#land(owned, answer === 'filled' ? { ...landed, fillTurn } : landed)
      if (answer === 'filled' || answer === 'unavailable') continue
      const { text: id } = owned
      events.emit('fill-refused', () => ({ entity: entity.name, id, reason: answer }))
    }
  }

  async #release(owned: readonly Owned[]): Promise<void> {
    const leases = leasesOf(owned)
    if (leases.length > 0) await this.#context.l2?.release(this.#context.entity, leases)
  }
}

function leasesOf(owned: readonly Owned[]): readonly Lease[] {
  return owned.flatMap(({ lease }) => lease ?? [])
}
