/** What each tier answers now, of all ids; fails while one doesn't. `entityOf`: the cache of an id. */
export async function leftIn({ process, ids }, entityOf) {
  const lines = []
  for (let id = 1; id <= ids; id++) {
    const asked = [
      ['l1', {}],
      ['l2', { consistency: 'strong' }],
    ]
    for (const [tier, request] of asked) {
      const found = await entityOf(id).getEntry(id, request)
      if (found.tier !== tier) throw new Error(`id ${id} is not in ${tier} yet`)
      const { value, proven } = found
      lines.push({ kind: 'left', process, id, tier, version: value?.version ?? 0, proven })
    }
  }
  return lines
}
