/** `lockstep doctor --json`, as a test asks it. */
import { expect } from 'vitest'
import type { DoctorRow, DoctorState } from '../../src/model/doctor.ts'
import { cli } from './cli.ts'

/** Stands in the URLs of tests, and in nothing that is printed. */
export const secret = 'hunter2'

interface Diagnosis {
  readonly code: number | null
  readonly state: DoctorState
  readonly checks: readonly DoctorRow[]
  /** Of a check with one row. */
  row(check: string): DoctorRow
  /** Ids of checks with this state. */
  all(state: DoctorState): readonly string[]
}

/** Kafka and Prometheus are left out unless `environment` names them. */
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
  return {
    code,
    state,
    checks,
    row: (check) => {
      const rows = checks.filter((row) => row.check === check)
      expect(rows).toHaveLength(1)
      return rows[0] as DoctorRow
    },
    all: (wanted) => checks.filter((row) => row.state === wanted).map((row) => row.check),
  }
}
