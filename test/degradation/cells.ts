/** The degradation matrix as data: which services are broken, how, and for how long. */
import { type Breakage, breakages } from './breakages.ts'

const services = ['redis', 'postgres', 'kafka', 'prometheus'] as const
export type Service = (typeof services)[number]

export interface Cell {
  readonly services: readonly Service[]
  /** `none`: what all others are compared to. */
  readonly fault: Breakage | 'none'
  readonly faultMs: number
}

const faultMs = 8_000
const outageMs = 60_000

const control: Cell = { services: [], fault: 'none', faultMs }

/** In the order in which they run; the control comes first. */
export const matrix: readonly Cell[] = [
  control,
  ...services.flatMap((service) => cellsOf([service])),
  ...services
    .filter((service) => service !== 'redis')
    .flatMap((service) => cellsOf(['redis', service])),
  ...services.map(
    (service): Cell => ({ services: [service], fault: 'refused', faultMs: outageMs }),
  ),
]

function cellsOf(broken: readonly Service[]): readonly Cell[] {
  return breakages.map((fault) => ({ services: broken, fault, faultMs }))
}

/** Those whose names begin so, and the control; all of them where no name is given. */
export function cellsNamed(names: readonly string[]): readonly Cell[] {
  const begins = (cell: Cell, name: string): boolean => nameOf(cell).startsWith(name)
  const strange = names.filter((name) => !matrix.some((cell) => begins(cell, name)))
  if (strange.length > 0) {
    throw new Error(`no cell's name begins with "${strange.join('", "')}"`)
  }
  if (names.length === 0) return matrix
  return matrix.filter((cell) => cell === control || names.some((name) => begins(cell, name)))
}

/** `redis+kafka hung`, `kafka refused 60 s`. */
export function nameOf({ services: broken, fault, faultMs: ms }: Cell): string {
  if (fault === 'none') return 'nothing'
  const long = ms > faultMs ? ` ${ms / 1_000} s` : ''
  return `${broken.join('+')} ${fault}${long}`
}
