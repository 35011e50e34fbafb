/** The names in a Redis in memory. */
export const valueKey = (entity: string, version: number, id: string): string =>
  `{${entity}:${id}}:v${version}`
export const fenceKey = (entity: string, id: string): string => `{${entity}:${id}}:f`
/** Where the barrier lies. */
export const barrierKey = 'barrier'
