/**
 * What loads are for, in the order in which they are served, and from the other end shed: a reader
 * with a ticket or a strong one; a reader; a value that is answered while it is loaded anew; ids that
 * nobody has asked for yet.
 */
export const loadClasses = ['ticket', 'miss', 'refresh', 'warm-up'] as const

export type LoadClass = (typeof loadClasses)[number]

/** The lower the more urgent. */
export function rankOf(loadClass: LoadClass): number {
  return loadClasses.indexOf(loadClass)
}
