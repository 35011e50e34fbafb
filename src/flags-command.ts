/** `lockstep flags`: what is set, and setting and unsetting it, beside the instances. */
import { userInfo } from 'node:os'
import { answering, type JsonOption, print, withPool } from './command-line.ts'
import { readConfig } from './config.ts'
import { systemClock } from './model/clock.ts'
import { wrong } from './model/entity.ts'
import { LockstepError } from './model/errors.ts'
import {
  checkedSet,
  checkedStep,
  checkedUnset,
  type FlagChange,
  type FlagScope,
  ladder,
  type SetFlagOptions,
} from './model/flags.ts'
import {
  FlagBoard,
  type FlagHistoryEntry,
  type FlagInfo,
  type FlagsChanged,
  mostHistory,
} from './operations/flag-board.ts'
import { checkNamespace } from './options.ts'
import { PostgresFlags } from './postgres/flags.ts'
import { checkSchema } from './postgres/migrations.ts'
import { withFlagMirror } from './redis/flag-mirror.ts'
import { commandLog } from './telemetry/log.ts'

const scopeDeadlineMs = 1_000

interface NamespaceArgument {
  readonly namespace?: string
}

export interface ListArguments extends NamespaceArgument {
  readonly history?: true
  readonly limit: string
}

export interface ChangeArguments extends NamespaceArgument {
  readonly for?: string
  readonly reason?: string
  readonly author?: string
  readonly entity?: string
  readonly instance?: string
}

export async function runFlagsList(options: JsonOption & ListArguments): Promise<void> {
  await answering(options, async () => {
    const limit = Number(options.limit)
    if (!Number.isSafeInteger(limit) || limit < 1 || limit > mostHistory) {
      throw wrong('--limit', options.limit, `1 to ${mostHistory} would do`)
    }
    if (options.history) {
      const history = await onBoard(options, (board) => board.history(limit))
      print({ history: history.map(historyDocument) }, historyText(history), options)
      return
    }
    const flags = await onBoard(options, (board) => board.list())
    print({ flags: flags.map(flagDocument) }, listText(flags), options)
  })
}

export async function runFlagsSet(
  flag: string,
  options: JsonOption & ChangeArguments,
): Promise<void> {
  await answering(options, async () => {
    const change = checkedSet(flag, settingsOf(options), user())
    await runChange([change], `set ${flag} for ${options.for}`, options)
  })
}

export async function runFlagsUnset(
  flag: string,
  options: JsonOption & ChangeArguments,
): Promise<void> {
  await answering(options, async () => {
    const { for: _, ...given } = settingsOf(options)
    await runChange([checkedUnset(flag, given, user())], `unset ${flag}`, options)
  })
}

export async function runFlagsLadder(
  step: string,
  options: JsonOption & ChangeArguments,
): Promise<void> {
  await answering(options, async () => {
    const number = /^\d$/.test(step) ? Number(step) : step
    const changes = checkedStep(number, settingsOf(options), user())
    await runChange(changes, `step ${step}: ${ladder[Number(step) as 0].name}`, options)
  })
}

async function runChange(
  changes: readonly FlagChange[],
  done: string,
  options: JsonOption & ChangeArguments,
): Promise<void> {
  const { keptIn } = await onBoard(options, async (board, store): Promise<FlagsChanged> => {
    for (const change of changes) if (change.kind === 'set') await checkScope(store, change)
    return board.change(changes)
  })
  const where = keptIn === 'redis' ? ' (in Redis alone, until PostgreSQL has an answer again)' : ''
  const document = {
    set: changes.filter(({ kind }) => kind === 'set').map(({ flag }) => flag),
    unset: changes.filter(({ kind }) => kind === 'unset').map(({ flag }) => flag),
    keptIn,
  }
  print(document, `${done}${where}\n`, options)
}

/**
 * A name that nobody has would be set, and do nothing in the night that it is for. Where PostgreSQL
 * can't say what there is, it is set all the same. Throws `OPTION_INVALID`.
 */
async function checkScope(store: PostgresFlags, { entity, instance }: FlagScope): Promise<void> {
  if (entity === undefined && instance === undefined) return
  const known = await store.scopes(AbortSignal.timeout(scopeDeadlineMs)).catch(() => undefined)
  // Of a namespace that is not known the change itself is refused.
  if (!known || known.entities.length === 0) return
  const { entities, instances } = known
  if (entity !== undefined && !entities.includes(entity)) {
    throw wrong('entity', entity, `one of ${entities.toSorted().join(', ')} would do`)
  }
  if (instance !== undefined && !instances.includes(instance)) {
    throw wrong(
      'instance',
      instance,
      'one that `lockstep flags list` or cache.health() names would do',
    )
  }
}

/** Only what was given: an option that is missing is told of as such. */
function settingsOf({
  for: lasts,
  reason,
  author,
  entity,
  instance,
}: ChangeArguments): SetFlagOptions {
  const given = { for: lasts, reason, author, entity, instance }
  return Object.fromEntries(
    Object.entries(given).filter(([, value]) => value !== undefined),
  ) as unknown as SetFlagOptions
}

function user(): string {
  try {
    return userInfo().username
  } catch {
    return 'somebody without a name'
  }
}

async function onBoard<T>(
  { namespace: given }: NamespaceArgument,
  run: (board: FlagBoard, store: PostgresFlags) => Promise<T>,
): Promise<T> {
  const { logLevel, namespace: standard, redisUrl } = readConfig()
  const namespace = given ?? standard
  checkNamespace(namespace)
  const log = commandLog('lockstep', logLevel)
  return withPool(async (pool) => {
    // Where PostgreSQL has no answer, Redis may do.
    await checkSchema(pool).catch((error: unknown) => {
      const isAway = error instanceof LockstepError && error.code === 'SOURCE_UNAVAILABLE'
      if (!isAway || redisUrl === undefined) throw error
    })
    const store = new PostgresFlags(pool, namespace)
    const clock = systemClock
    if (redisUrl === undefined) {
      return run(new FlagBoard({ store, mirror: undefined, clock, log }), store)
    }
    return withFlagMirror(redisUrl, namespace, clock, log, (mirror) =>
      run(new FlagBoard({ store, mirror, clock, log }), store),
    )
  })
}

const scopeText = ({
  entity,
  instance,
}: {
  entity?: string | undefined
  instance?: string | undefined
}): string =>
  [entity ?? 'all entities', instance === undefined ? undefined : `on ${instance}`]
    .filter((part) => part !== undefined)
    .join(' ')

/** What came from elsewhere must not write to the terminal as it likes. */
const quoted = (text: string): string => JSON.stringify(text)

function listText(flags: readonly FlagInfo[]): string {
  if (flags.length === 0) return 'no flags are set\n'
  const lines = flags.map((one) =>
    [
      one.flag,
      scopeText(one),
      one.until === undefined ? 'as long as it runs' : `until ${one.until.toISOString()}`,
      `by ${one.by} ${quoted(one.author)}: ${quoted(one.reason)}`,
      one.from === 'redis'
        ? 'as Redis has it'
        : `applied by ${one.appliedBy.length === 0 ? 'nobody yet' : one.appliedBy.join(', ')}`,
    ].join('  '),
  )
  return `${lines.join('\n')}\n`
}

function historyText(history: readonly FlagHistoryEntry[]): string {
  if (history.length === 0) return 'no flag was set in the last 90 days\n'
  const lines = history.map((one) =>
    [
      one.at.toISOString(),
      one.kind,
      one.flag,
      scopeText(one),
      ...(one.until === undefined ? [] : [`until ${one.until.toISOString()}`]),
      `by ${one.by} ${quoted(one.author)}: ${quoted(one.reason)}`,
    ].join('  '),
  )
  return `${lines.join('\n')}\n`
}

function flagDocument({ flag, entity, instance, setAt, until, ...others }: FlagInfo): object {
  return {
    flag,
    entity: entity ?? null,
    instance: instance ?? null,
    setAt: setAt?.toISOString() ?? null,
    until: until?.toISOString() ?? null,
    ...others,
  }
}

function historyDocument({ entity, instance, at, until, ...others }: FlagHistoryEntry): object {
  return {
    ...others,
    entity: entity ?? null,
    instance: instance ?? null,
    at: at.toISOString(),
    until: until?.toISOString() ?? null,
  }
}
