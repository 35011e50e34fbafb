/** `lockstep doctor`, as tests ask it. */
import { expect } from 'vitest'
import { examineConfig } from '../../src/config.ts'
import { diagnose } from '../../src/doctor-command.ts'
import type { DoctorRow, DoctorState } from '../../src/model/doctor.ts'
import { stateOf } from '../../src/operations/doctor.ts'
import { cli } from './cli.ts'
import { ownNamespace } from './namespace.ts'
import { required } from './world.ts'

/** Stands in the URLs of tests, and in nothing that is printed. */
export const secret = 'hunter2'

interface Diagnosis {
  readonly state: DoctorState
  readonly checks: readonly DoctorRow[]
  /** Of a check with one row. */
  row(check: string): DoctorRow
  /** Ids of checks with this state, of all places or of one. */
  all(state: DoctorState, place?: DoctorRow['place']): readonly string[]
}

/** By the command. Kafka and Prometheus are left out unless `environment` names them. */
export async function doctor(
  environment: NodeJS.ProcessEnv,
  ...args: string[]
): Promise<Diagnosis> {
  const { code, stdout, stderr } = await cli(['doctor', '--json', ...args], {
    KAFKA_BROKERS: '',
    PROMETHEUS_URL: '',
    ...environment,
  }).ended
  expect(stdout + stderr).not.toContain(secret)
  expect(stdout + stderr).not.toMatch(/^\s+at .*:\d+:\d+/m)
  const { state, checks } = JSON.parse(stdout) as Pick<Diagnosis, 'state' | 'checks'>
  expect(code).toBe(state === 'broken' ? 1 : 0)
  return diagnosis(state, checks)
}

/** The same in this process: to start one costs more than all that is asked. */
export async function diagnosed(environment: NodeJS.ProcessEnv): Promise<Diagnosis> {
  const examined = examineConfig({
    DATABASE_URL: required('DATABASE_URL'),
    REDIS_URL: required('REDIS_URL'),
    LOCKSTEP_NAMESPACE: ownNamespace(),
    ...environment,
  })
  const checks = await diagnose(examined)
  expect(JSON.stringify(checks)).not.toContain(secret)
  return diagnosis(stateOf(checks), checks)
}

function diagnosis(state: DoctorState, checks: readonly DoctorRow[]): Diagnosis {
  return {
    state,
    checks,
    row: (check) => {
      const rows = checks.filter((row) => row.check === check)
      expect(rows).toHaveLength(1)
      return rows[0] as DoctorRow
    },
    all: (wanted, place) =>
      checks
        .filter((row) => row.state === wanted && (place ?? row.place) === row.place)
        .map((row) => row.check),
  }
}
