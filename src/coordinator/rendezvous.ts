import { hashOf } from '../model/hash.ts'

/**
 * Which of several instances does what one is enough for: the one with the highest mark, by hashes of
 * its name and of the thing (rendezvous hashing: Thaler, Ravishankar, IEEE/ACM ToN 1998). All who
 * know the same instances name the same one, and who comes or goes moves nothing but its own.
 */
export function electedFor(thing: string, instances: Iterable<string>): string | undefined {
  let elected: string | undefined
  let highest = -1
  for (const instance of instances) {
    const mark = hashOf(`${instance}\n${thing}`)
    if (mark < highest || (mark === highest && instance >= (elected as string))) continue
    highest = mark
    elected = instance
  }
  return elected
}
