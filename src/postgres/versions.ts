/** Pairs of entity and schema version, as `json_agg` gives them. */
export type VersionPairs = readonly (readonly [string, number])[] | null

export function versionsOf(pairs: VersionPairs): ReadonlyMap<string, readonly number[]> {
  const versions = new Map<string, number[]>()
  for (const [entity, version] of pairs ?? []) {
    const known = versions.get(entity)
    if (known) known.push(version)
    else versions.set(entity, [version])
  }
  return versions
}
