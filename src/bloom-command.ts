/** `lockstep bloom`. */
import { type BloomPlace, checkKnown, onBloomPlace } from './bloom-place.ts'
import { answering, type JsonOption, print, untilSignalled } from './command-line.ts'
import { screenOn } from './demo/screen.ts'
import type { NamespaceOption } from './invalidate-command.ts'
import { bytesOf, type FilterHeader, idsAt, rateAt } from './model/bloom.ts'
import { systemClock } from './model/clock.ts'
import { durationMs } from './model/duration.ts'
import { defineEntity, wrong } from './model/entity.ts'
import { messageOf } from './model/errors.ts'
import type { FilterStatus } from './model/filter-ports.ts'
import { isIdText, longestIdText } from './model/id.ts'
import type { Lookup } from './model/l2-port.ts'
import { formatSnapshot } from './model/snapshot.ts'
import { sleep } from './resilience/deadline.ts'

const pollMs = 250
const barWidth = 30

export async function runBloomStatus(
  entity: string | undefined,
  options: JsonOption & NamespaceOption,
): Promise<void> {
  await answering(options, () =>
    onBloomPlace(options.namespace, async (place) => {
      if (entity !== undefined) checkKnown(place, entity)
      const filters: object[] = []
      const lines: string[] = []
      for (const name of entity === undefined ? place.versions.keys() : [entity]) {
        const status = await statusOf(place, name)
        const { current, building, isRequested } = status
        if (entity === undefined && !current && !building && !isRequested) continue
        filters.push({ entity: name, ...documentOf(status) })
        lines.push(textOf(name, status))
      }
      const text = lines.length === 0 ? 'no Bloom filters' : lines.join('\n')
      print({ filters }, `${text}\n`, options)
    }),
  )
}

export async function runBloomRebuild(
  entity: string,
  options: JsonOption & NamespaceOption & { readonly timeout?: string },
): Promise<void> {
  await answering(options, async () => {
    const timeoutMs = durationMs('--timeout', options.timeout ?? '10s')
    await onBloomPlace(options.namespace, async (place) => {
      checkKnown(place, entity)
      const current = await untilSignalled((signal) => rebuild(place, entity, timeoutMs, signal))
      const ids = Math.round(idsAt(current, current.setBits))
      const text = `generation ${current.generation} of "${entity}" is ready: about ${ids} ids\n`
      print({ entity, ...numbersOf(current) }, text, options)
    })
  })
}

/** Until a newer one is ready; how far it is can be seen on stderr. */
async function rebuild(
  place: BloomPlace,
  entity: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<FilterHeader> {
  const before = (await statusOf(place, entity)).current?.generation ?? 0
  const asked = await place.filters.request(entity)
  if (asked.kind === 'unavailable') throw unreachable(asked.cause)
  const screen = screenOn(process.stderr)
  let untilMs = systemClock.monotonicMs() + timeoutMs
  for (;;) {
    const { current, building } = await statusOf(place, entity)
    if (current && current.generation > before) {
      screen.live('')
      return current
    }
    if (building?.isHeld) {
      untilMs = systemClock.monotonicMs() + timeoutMs
      screen.live(barOf(entity, building.scanned, building.expected))
    } else if (systemClock.monotonicMs() > untilMs) {
      throw new Error(
        `nobody builds the filter of "${entity}": no instance of the namespace that has the entity with the option bloom has taken the request in ${timeoutMs} ms`,
      )
    }
    await sleep(pollMs, signal, systemClock)
    signal.throwIfAborted()
  }
}

export async function runBloomCheck(
  entity: string,
  id: string,
  options: JsonOption & NamespaceOption,
): Promise<void> {
  await answering(options, () =>
    onBloomPlace(options.namespace, async (place) => {
      checkKnown(place, entity)
      if (!isIdText(id)) {
        throw wrong('<id>', id, `1 to ${longestIdText} well-formed characters would do`)
      }
      const status = await statusOf(place, entity)
      const { current, building } = status
      const generations = await Promise.all(
        [current, building]
          .flatMap((one) => one ?? [])
          .map(async ({ generation, isReady }) => {
            const [isMissing] = await place.filters.missing(entity, generation, [id])
            return { generation, ready: isReady, says: isMissing ? 'no' : 'maybe' }
          }),
      )
      const lookup = await lookUp(place, entity, id)
      const barrier = lookup.kind === 'refused' ? formatSnapshot(lookup.refusal.barrier) : null
      const read = whatAReadDoes(lookup, status)
      const lines = generations.map(
        ({ generation, ready, says }) =>
          `generation ${generation}${ready ? '' : ' (being built)'}: ${says}`,
      )
      if (barrier !== null) lines.push(`barrier beside it: ${barrier}`)
      print({ entity, id, generations, barrier, read }, `${[...lines, read].join('\n')}\n`, options)
    }),
  )
}

async function lookUp({ l2, versions }: BloomPlace, name: string, id: string): Promise<Lookup> {
  const load = (): Promise<object[]> => Promise.resolve([])
  const version = versions.get(name) as number
  const entity = defineEntity(name, { load, id: () => id, version })
  const [lookup] = await l2.lookup(entity, [id], [true])
  return lookup as Lookup
}

function whatAReadDoes(lookup: Lookup, { current, isOutlived }: FilterStatus): string {
  switch (lookup.kind) {
    case 'refused':
      return 'a read is answered that it does not exist, where its instance knows that the barrier sees all that was committed a staleness bound ago; a strong read, or one with a ticket, loads it'
    case 'fresh':
    case 'stale':
      return `a read is answered from Redis, where ${lookup.stored.payload ? 'its value' : '"does not exist"'} lies; the filter is not asked`
    case 'unavailable':
      return `a read loads it: Redis has no answer (${messageOf(lookup.cause)})`
    case 'miss': {
      const why = !current
        ? 'there is no filter'
        : isOutlived
          ? 'the filter may lack ids that exist, and is to be built anew'
          : 'the filter may have it, or no barrier lies beside it'
      return `a read loads it: ${why}`
    }
    default:
      return lookup satisfies never
  }
}

async function statusOf({ filters }: BloomPlace, entity: string): Promise<FilterStatus> {
  const status = await filters.status(entity)
  if (status.kind === 'unavailable') throw unreachable(status.cause)
  return status
}

function unreachable(cause: unknown): Error {
  return new Error(`Redis: ${messageOf(cause)}`, { cause })
}

function documentOf({ current, building, isOutlived, isRequested }: FilterStatus): object {
  return {
    current: current ? numbersOf(current) : null,
    outlived: isOutlived,
    requested: isRequested,
    building: building
      ? {
          ...shapeOf(building),
          scanned: building.scanned,
          expected: building.expected,
          held: building.isHeld,
        }
      : null,
  }
}

function shapeOf(header: FilterHeader) {
  const { generation, bits, places } = header
  return { generation, bits, places, bytes: bytesOf(header) }
}

function numbersOf(header: FilterHeader) {
  const { bits, setBits, incarnation, xid, declaredAtMs } = header
  const ids = idsAt(header, setBits)
  return {
    ...shapeOf(header),
    fillRatio: setBits / bits,
    estimatedRate: rateAt(header, setBits),
    estimatedIds: Number.isFinite(ids) ? Math.round(ids) : null,
    incarnation,
    xid,
    declaredAt: new Date(declaredAtMs).toISOString(),
  }
}

function textOf(
  entity: string,
  { current, building, isOutlived, isRequested }: FilterStatus,
): string {
  const parts: string[] = []
  if (current) {
    const { generation, fillRatio, estimatedIds, estimatedRate, bytes } = numbersOf(current)
    parts.push(
      `generation ${generation}`,
      `about ${estimatedIds ?? 'too many'} ids`,
      `${(100 * fillRatio).toFixed(1)} % full`,
      `rate ${estimatedRate.toPrecision(2)}`,
      `${bytes} bytes`,
    )
  } else parts.push('none that answers')
  if (isOutlived) parts.push('outlived: every id is "maybe"')
  if (isRequested) parts.push('a rebuild is requested')
  if (building) {
    const { scanned, expected, isHeld } = building
    parts.push(`being built: ${scanned} of about ${expected}${isHeld ? '' : ', left'}`)
  }
  return `${entity}  ${parts.join('  ')}`
}

function barOf(entity: string, scanned: number, expected: number): string {
  const filled = Math.min(barWidth, Math.round((scanned / Math.max(1, expected)) * barWidth))
  const bar = '█'.repeat(filled) + '░'.repeat(barWidth - filled)
  return `${entity} ${bar} ${scanned.toLocaleString('en-US')} of about ${expected.toLocaleString('en-US')}`
}
