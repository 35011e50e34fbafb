/** `cache.flags`: checks each call's arguments, and hands it to the board. */
import { wrong } from './model/entity.ts'
import { LockstepError } from './model/errors.ts'
import {
  checkedSet,
  checkedStep,
  checkedUnset,
  checkFlagName,
  type FlagChange,
} from './model/flags.ts'
import { type FlagBoard, type FlagsChanged, mostHistory } from './operations/flag-board.ts'
import type { RunningCache } from './running-cache.ts'
import type { FlagMethods } from './types.ts'

const shownHistory = 100

export function flagsDoor(cache: RunningCache): FlagMethods {
  const author = `instance ${cache.instance}`
  const board = (): FlagBoard => {
    if (cache.health.isClosed) throw new LockstepError('CLOSED', 'the cache is closed')
    if (!cache.flags.board) throw new LockstepError('SOURCE_UNAVAILABLE', 'flags are kept nowhere')
    return cache.flags.board
  }
  const change = async (changes: readonly FlagChange[]): Promise<FlagsChanged> => {
    const known = board()
    for (const { entity } of changes) {
      if (entity === undefined || cache.entities.has(entity)) continue
      throw wrong('entity', entity, `one of ${[...cache.entities.keys()].join(', ')} would do`)
    }
    const changed = await known.change(changes)
    cache.flags.look()
    return changed
  }
  return Object.freeze<FlagMethods>({
    set: async (flag, options) => change([checkedSet(flag, options, author)]),
    unset: async (flag, options = {}) => change([checkedUnset(flag, options, author)]),
    ladder: async (step, options) => change(checkedStep(step, options, author)),
    list: async () => board().list(),
    history: async ({ limit = shownHistory } = {}) => {
      if (!Number.isSafeInteger(limit) || limit < 1 || limit > mostHistory) {
        throw wrong('limit', limit, `1 to ${mostHistory} would do`)
      }
      return board().history(limit)
    },
    isSet: (flag, entity) => cache.flags.isSet(checkFlagName('flag', flag), entity),
  })
}
