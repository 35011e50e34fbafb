/** Columns: arrays that hold one thing of every entry, at the place that the entry's slot says. */

type NumberColumn = Uint8Array | Uint32Array | Int32Array | Float64Array

/** A copy with room for `capacity` slots; the new ones hold 0. */
export function lengthened<Column extends NumberColumn>(column: Column, capacity: number): Column {
  const longer = new (column.constructor as new (length: number) => Column)(capacity)
  longer.set(column)
  return longer
}

/** A copy with room for exactly `capacity` slots: an array that grows by itself takes half as much again. */
export function lengthenedList<T>(column: readonly T[], capacity: number): (T | undefined)[] {
  const longer = new Array<T | undefined>(capacity)
  for (let slot = 0; slot < capacity; slot++) longer[slot] = column[slot]
  return longer
}
