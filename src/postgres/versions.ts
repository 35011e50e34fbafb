import type { LiveVersions } from '../model/source-port.ts'

/** Pairs of entity and schema version. */
export type VersionPairs = readonly (readonly [string, number])[] | null

export interface VersionsRow {
  readonly versions: VersionPairs
}

/** The live versions as one column; `namespace` is SQL: a parameter or a literal. */
export function selectVersions(namespace: string): string {
  return `lockstep.live_versions(${namespace}) as versions`
}

export function versionsOf(pairs: VersionPairs): LiveVersions {
  const versions = new Map<string, number[]>()
  for (const [entity, version] of pairs ?? []) {
    const known = versions.get(entity)
    if (known) known.push(version)
    else versions.set(entity, [version])
  }
  return versions
}
