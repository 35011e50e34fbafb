/** Ids that others read often, out of L2 into L1 before anybody here asks for them. */
import type { L1Key } from '../model/id.ts'
import { takeFromL2 } from './answer-from-l2.ts'
import type { ReadContext } from './wanted.ts'

/** One lookup for all of them; what isn't there, or has expired there, is left to those who read it. */
export async function takeIn(context: ReadContext, keys: readonly L1Key[]): Promise<void> {
  const { entity, l2, probes, switches } = context
  if (!l2 || switches['l1.bypass'] || switches['l2.bypass']) return
  const lookups = await l2.lookup(entity, keys.map(String))
  for (const [index, key] of keys.entries()) {
    const lookup = lookups[index]
    if (lookup?.kind !== 'fresh') continue
    const { stored } = lookup
    if (stored.snapshot.incarnation === probes.incarnation) takeFromL2(context, { key }, stored)
  }
}
