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

/** `redis+kafka hung`, `kafka refused 60 s`. */
export function nameOf({ services: broken, fault, faultMs: ms }: Cell): string {
  if (fault === 'none') return 'nothing'
  const long = ms > faultMs ? ` ${ms / 1_000} s` : ''
  return `${broken.join('+')} ${fault}${long}`
}
