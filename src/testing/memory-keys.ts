/** The names in a Redis in memory. */
export const valueKey = (entity: string, version: number, id: string): string =>
  `{${entity}:${id}}:v${version}`
export const fenceKey = (entity: string, id: string): string => `{${entity}:${id}}:f`
/** Where the barrier lies. */
export const barrierKey = 'barrier'
/** Bloom filters: the two bitmaps of an entity, the record of a build, the wish for one. */
export const filterKey = (entity: string, slot: 0 | 1): string => `{bloom:${entity}}:${slot}`
export const buildKey = (entity: string): string => `{bloom:${entity}}:build`
export const requestKey = (entity: string): string => `{bloom:${entity}}:request`
