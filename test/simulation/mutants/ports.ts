/** Ports of which a mutant replaces some calls. */
import type { Log } from '../../../src/model/bus-ports.ts'
import type { AnyEntity } from '../../../src/model/entity.ts'
import type { Region } from '../../../src/model/l1-port.ts'
import type { L2 } from '../../../src/model/l2-port.ts'
import type { Outbox } from '../../../src/model/outbox-port.ts'
import type { Parts } from '../../../src/running-cache.ts'
import { over } from '../../support/over.ts'
import type { Place } from '../mutation.ts'
import type { SimulatedWorld } from '../world.ts'

type Replaced = (parts: Parts, place: Place) => Parts

export const l2Of =
  (replaced: (l2: L2, world: SimulatedWorld, entity: AnyEntity) => Partial<L2>): Replaced =>
  (parts, { world, entity }) => ({
    ...parts,
    l2: parts.l2 && over<L2>(parts.l2, replaced(parts.l2, world, entity)),
  })

export const outboxOf =
  (replaced: (outbox: Outbox, world: SimulatedWorld) => Partial<Outbox>): Replaced =>
  (parts, { world }) => ({
    ...parts,
    outbox: over<Outbox>(parts.outbox, replaced(parts.outbox, world)),
  })

export const logOf =
  (replaced: (log: Log) => Partial<Log>): Replaced =>
  (parts) => ({ ...parts, log: parts.log && over<Log>(parts.log, replaced(parts.log)) })

export const regionOf =
  (replaced: (region: Region) => Partial<Region>): Replaced =>
  (parts) => ({
    ...parts,
    regions: new Map(
      [...parts.regions].map(([name, region]) => [name, over<Region>(region, replaced(region))]),
    ),
  })
