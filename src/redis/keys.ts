/** The names in Redis. The hash tag keeps all keys of one id in one slot. */
export interface KeySpace {
  value(entity: string, version: number, id: string): string
  fence(entity: string, id: string): string
  /** The channel of the fast plane. */
  readonly bus: string
  /** Which database the namespace belongs to. */
  readonly claim: string
  /** The barrier of a node; `tag`: a hash tag whose slot it owns, '' on a single server. */
  barrier(tag: string): string
  /** Flags as PostgreSQL had them, and what was changed without it: in one slot. */
  readonly flags: readonly [kept: string, changes: string]
  /** The two bitmaps of an entity's Bloom filters; with all else of them in one slot. */
  filter(entity: string, slot: 0 | 1): string
  /** The record of a filter's build, and the wish for one. */
  filterBuild(entity: string): string
  filterRequest(entity: string): string
  /** Where what is to be merged is gathered; `token`: of this part alone. */
  filterPart(entity: string, token: string): string
}

export function keySpace(namespace: string): KeySpace {
  return {
    value: (entity, version, id) => `${namespace}:{${entity}:${id}}:v${version}`,
    fence: (entity, id) => `${namespace}:{${entity}:${id}}:f`,
    bus: `${namespace}:bus`,
    claim: `${namespace}:database`,
    flags: [`${namespace}:{flags}`, `${namespace}:{flags}:changes`],
    barrier: (tag) => `${namespace}:barrier${tag === '' ? '' : `:{${tag}}`}`,
    filter: (entity, slot) => `${namespace}:{bloom:${entity}}:${slot}`,
    filterBuild: (entity) => `${namespace}:{bloom:${entity}}:build`,
    filterRequest: (entity) => `${namespace}:{bloom:${entity}}:request`,
    filterPart: (entity, token) => `${namespace}:{bloom:${entity}}:part:${token}`,
  }
}
