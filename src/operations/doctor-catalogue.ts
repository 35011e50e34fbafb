/** All checks of `lockstep doctor`, in the order in which they are told: docs/doctor.md is made of it. */
import type { DoctorPlace } from '../model/doctor.ts'
import type { CheckTexts, PlaceChecks } from './doctor.ts'
import { configChecks } from './doctor-config.ts'
import { kafkaChecks } from './doctor-kafka.ts'
import { lockstepChecks } from './doctor-lockstep.ts'
import { postgresChecks } from './doctor-postgres.ts'
import { prometheusChecks } from './doctor-prometheus.ts'
import { redisChecks } from './doctor-redis.ts'

/** The texts of each check, by place and id. */
export const doctorCatalogue: Readonly<Record<DoctorPlace, Readonly<Record<string, CheckTexts>>>> =
  {
    config: configChecks,
    postgres: withReach(postgresChecks),
    redis: withReach(redisChecks),
    kafka: withReach(kafkaChecks),
    prometheus: withReach(prometheusChecks),
    lockstep: lockstepChecks,
  }

function withReach({
  place,
  reach,
  checks,
}: Pick<PlaceChecks<never>, 'place' | 'reach'> & {
  readonly checks: Readonly<Record<string, CheckTexts>>
}): Readonly<Record<string, CheckTexts>> {
  return { [`${place}-reachable`]: reach, ...checks }
}
