import type { Clock } from '../model/clock.ts'
import type { AnyEntity } from '../model/entity.ts'
import type { IdScan } from '../model/filter-ports.ts'
import { PostgresIdScan } from './id-scan.ts'
import type { Pool } from './pool.ts'
import { YieldedIds } from './yielded-ids.ts'

/** The ids that the option `bloom` of the entity tells of. */
export function openScan(pool: Pool, entity: AnyEntity, clock: Clock): IdScan {
  const { bloom, name } = entity
  if (!bloom) throw new Error(`entity "${name}" has no filter`)
  const { from } = bloom
  return from.kind === 'table'
    ? new PostgresIdScan({ pool, clock, option: `${name}.bloom`, ...from })
    : new YieldedIds({ pool, clock, entity, ids: from.ids })
}
