/** What an operator does with the dead letters of a namespace: look at them, and publish them again. */
import { type BuriedLetter, decodeDeadLetter, encodeReplayed } from '../model/dead-letter.ts'
import { deadLettersTopicOf } from './options.ts'
import { Publisher } from './publisher.ts'
import type { Place } from './reading.ts'
import { scan } from './scan.ts'
import { deadLettersTopic, eventsTopic } from './topic.ts'

/** A letter where it lies, as `partition:offset`. */
export interface Grave {
  readonly id: string
  readonly letter: BuriedLetter
  /** When it was replayed last; `undefined`: it was not. */
  readonly replayedAt: string | undefined
}

export interface Graves {
  /** The oldest first. */
  readonly letters: readonly Grave[]
  /** More than are taken along at once. */
  readonly left: number
  /** Records that are no letters. */
  readonly unreadable: number
}

const scanDeadlineMs = 60_000
/** Taken along at once: of so many letters, and of so many bytes of what they hold. */
const mostLetters = 10_000
const mostHeldBytes = 64 * 1024 * 1024
const mostMarks = 1_000_000

/** Those that `isWanted`, up to a bound. Rejects with `KAFKA_REFUSED`, `KAFKA_UNAVAILABLE`. */
export async function readGraves(
  place: Place,
  isWanted: (id: string, isReplayed: boolean) => boolean = () => true,
): Promise<Graves> {
  const first = await take(place, (id) => isWanted(id, false))
  // Marks lie behind their letters: where those that were replayed took the room, it is known now.
  const { left, marks, ...found } =
    first.left === 0 ? first : await takeKnowing(place, first.marks, isWanted)
  const letters = found.letters
    .map(([id, letter]) => ({ id, letter, replayedAt: marks.get(id) }))
    .filter(({ id, replayedAt }) => isWanted(id, replayedAt !== undefined))
  return { letters, left, unreadable: found.unreadable }
}

interface Taken {
  readonly letters: readonly (readonly [string, BuriedLetter])[]
  readonly marks: ReadonlyMap<string, string>
  readonly left: number
  readonly unreadable: number
}

function takeKnowing(
  place: Place,
  known: ReadonlyMap<string, string>,
  isWanted: (id: string, isReplayed: boolean) => boolean,
): Promise<Taken> {
  return take(place, (id) => isWanted(id, known.has(id)))
}

async function take(place: Place, isWanted: (id: string) => boolean): Promise<Taken> {
  const letters: (readonly [string, BuriedLetter])[] = []
  const marks = new Map<string, string>()
  let heldBytes = 0
  let left = 0
  let unreadable = 0
  await scan(place, deadLettersTopicOf(place.settings), scanDeadlineMs, (partition, message) => {
    const id = `${partition}:${message.offset}`
    const record = decodeDeadLetter(message.value)
    if (record.kind === 'unreadable') unreadable++
    else if (record.kind === 'replayed') {
      if (marks.size < mostMarks) {
        marks.set(`${record.letter.partition}:${record.letter.offset}`, record.at)
      }
    } else if (isWanted(id)) {
      const bytes = (record.value?.length ?? 0) + (record.key?.length ?? 0)
      if (letters.length >= mostLetters || heldBytes + bytes > mostHeldBytes) left++
      else {
        heldBytes += bytes
        letters.push([id, record])
      }
    }
  })
  return { letters, marks, left, unreadable }
}

/**
 * Publishes the originals to the events' topic again, and marks each: a crash in between leaves some
 * that are published twice, which changes nothing. Rejects with `KAFKA_REFUSED`, `KAFKA_UNAVAILABLE`.
 */
export async function replay(place: Place, graves: readonly Grave[]): Promise<void> {
  const events = new Publisher(place, eventsTopic(place.settings))
  const marks = new Publisher(place, deadLettersTopic(place.settings))
  const { signal } = new AbortController()
  try {
    for (let first = 0; first < graves.length; first += replayedAtOnce) {
      const some = graves.slice(first, first + replayedAtOnce)
      await events.publish(
        some.map(({ letter: { key, value } }) => ({ key, value })),
        signal,
      )
      const at = new Date(place.clock.wallMs()).toISOString()
      await marks.publish(
        some.map(({ id }) => {
          const [partition, offset] = id.split(':') as [string, string]
          const position = { partition: Number(partition), offset }
          return { partition: position.partition, value: encodeReplayed(position, at) }
        }),
        signal,
      )
    }
  } finally {
    await Promise.all([events.close(), marks.close()])
  }
}

const replayedAtOnce = 100
