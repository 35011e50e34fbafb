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
}

export function keySpace(namespace: string): KeySpace {
  return {
    value: (entity, version, id) => `${namespace}:{${entity}:${id}}:v${version}`,
    fence: (entity, id) => `${namespace}:{${entity}:${id}}:f`,
    bus: `${namespace}:bus`,
    claim: `${namespace}:database`,
    flags: [`${namespace}:{flags}`, `${namespace}:{flags}:changes`],
    barrier: (tag) => `${namespace}:barrier${tag === '' ? '' : `:{${tag}}`}`,
  }
}
