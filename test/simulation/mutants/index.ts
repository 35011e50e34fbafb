import { fenceMutants } from './fence.ts'
import type { Mutant } from './mutant.ts'
import { planeMutants } from './plane.ts'
import { trustMutants } from './trust.ts'
import { xidMutants } from './xid.ts'

export const mutants: readonly Mutant[] = [
  ...fenceMutants,
  ...planeMutants,
  ...trustMutants,
  ...xidMutants,
]
