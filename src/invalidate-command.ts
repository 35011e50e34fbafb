/** `lockstep invalidate` and `lockstep dead-letters`. */
import { answering, type JsonOption, onSchema, print } from './command-line.ts'
import { type Config, readConfig } from './config.ts'
import { type Grave, type Graves, readGraves, replay } from './kafka/dead-letters.ts'
import { settleKafka } from './kafka/options.ts'
import type { Place } from './kafka/reading.ts'
import { systemClock } from './model/clock.ts'
import { checkEntityName, wrong } from './model/entity.ts'
import { LockstepError } from './model/errors.ts'
import { isIdText, longestIdText } from './model/id.ts'
import { checkNamespace } from './options.ts'
import { invalidateInSql } from './postgres/invalidations.ts'
import { commandLog } from './telemetry/log.ts'

export interface NamespaceOption {
  readonly namespace?: string
}

export async function runInvalidate(
  entity: string,
  ids: readonly string[],
  options: JsonOption & NamespaceOption,
): Promise<void> {
  await answering(options, async () => {
    const { namespace } = options
    if (namespace !== undefined) checkNamespace(namespace)
    checkEntityName('<entity>', entity)
    for (const id of ids) {
      if (!isIdText(id)) {
        throw wrong('<id>', id, `1 to ${longestIdText} well-formed characters would do`)
      }
    }
    const namespaces = await onSchema((pool) => invalidateInSql(pool, { entity, ids }, namespace))
    const told = namespaces === 1 ? '1 namespace' : `${namespaces} namespaces`
    const what = ids.length === 1 ? '1 id' : `${ids.length} ids`
    print({ entity, ids, namespaces }, `told ${told} of ${what} of "${entity}"\n`, options)
  })
}

export async function runDeadLettersList(options: JsonOption & NamespaceOption): Promise<void> {
  await answering(options, async () => {
    const graves = await readGraves(placeOf(options))
    print(documentOf(graves), listedText(graves), options)
  })
}

export async function runDeadLettersReplay(
  ids: readonly string[],
  options: JsonOption & NamespaceOption & { readonly all?: true; readonly again?: true },
): Promise<void> {
  await answering(options, async () => {
    if (ids.length > 0 === (options.all === true)) {
      throw new LockstepError('OPTION_INVALID', 'either --all or some <partition:offset> would do')
    }
    for (const id of ids) {
      if (!/^\d{1,9}:\d{1,19}$/.test(id)) {
        throw wrong(
          '<partition:offset>',
          id,
          'one that `lockstep dead-letters list` shows would do',
        )
      }
    }
    const named = new Set(ids)
    const place = placeOf(options)
    const { letters, left } = await readGraves(place, (id, isReplayed) =>
      options.all ? !isReplayed : named.has(id),
    )
    checkNamed(ids, letters, options.again === true)
    const whole = letters.filter(({ letter }) => !letter.isTruncated)
    const truncated = letters.filter(({ letter }) => letter.isTruncated).map(({ id }) => id)
    await replay(place, whole)
    const replayed = whole.map(({ id }) => id)
    const text = [
      `replayed ${replayed.length}`,
      ...(truncated.length > 0 ? [`too large to be replayed: ${truncated.join(', ')}`] : []),
      ...(left > 0 ? [`${left} more are left: run it again`] : []),
    ]
    print({ replayed, truncated, left }, `${text.join('\n')}\n`, options)
  })
}

/** Nothing is published unless all that were named can be. */
function checkNamed(ids: readonly string[], letters: readonly Grave[], again: boolean): void {
  const found = new Map(letters.map((grave) => [grave.id, grave]))
  for (const id of ids) {
    const grave = found.get(id)
    if (!grave)
      throw wrong('<partition:offset>', id, 'that of a dead letter that is there would do')
    if (grave.replayedAt !== undefined && !again) {
      throw new LockstepError(
        'OPTION_INVALID',
        `dead letter ${id} was replayed at ${grave.replayedAt}; with --again it is once more`,
      )
    }
  }
}

function placeOf({ namespace: given }: NamespaceOption): Place {
  const config: Config = readConfig()
  const namespace = given ?? config.namespace
  checkNamespace(namespace)
  if (config.kafka === undefined) {
    throw new LockstepError('OPTION_INVALID', 'KAFKA_BROKERS is not set; host:9092 would do')
  }
  return {
    settings: settleKafka(config.kafka, namespace),
    clock: systemClock,
    log: commandLog('lockstep', config.logLevel),
  }
}

const shownCharacters = 60

function documentOf({ letters, left, unreadable }: Graves): object {
  return {
    deadLetters: letters.map(({ id, letter, replayedAt }) => ({
      id,
      at: letter.at,
      reason: letter.reason,
      detail: letter.detail,
      from: letter.from,
      bytes: letter.bytes,
      truncated: letter.isTruncated,
      replayedAt: replayedAt ?? null,
      value: letter.value?.toString('base64') ?? null,
    })),
    left,
    unreadable,
  }
}

function listedText({ letters, left, unreadable }: Graves): string {
  const lines = letters.map(({ id, letter, replayedAt }) =>
    [
      id,
      letter.at,
      letter.reason,
      replayedAt === undefined ? 'waits' : `replayed ${replayedAt}`,
      // As JSON: what came from elsewhere must not write to the terminal as it likes.
      JSON.stringify(letter.value?.toString('utf8').slice(0, shownCharacters) ?? ''),
    ].join('  '),
  )
  return `${[
    ...(lines.length === 0 ? ['no dead letters'] : lines),
    ...(left > 0 ? [`${left} more are not shown`] : []),
    ...(unreadable > 0 ? [`${unreadable} records are no dead letters`] : []),
  ].join('\n')}\n`
}
