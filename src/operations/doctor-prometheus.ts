import type { PrometheusFacts } from '../model/doctor.ts'
import { broken, checksOn, ok, type PlaceChecks, warning } from './doctor.ts'
import { clockVerdict, countText, secondsText } from './doctor-words.ts'

const on = checksOn<PrometheusFacts>()

/** What the question of the breakers takes for recent (`prometheus/fleet.ts`). */
const oldSeconds = 45
const leastInstances = 2

export const prometheusChecks: PlaceChecks<PrometheusFacts> = {
  place: 'prometheus',
  reach: {
    variable: 'PROMETHEUS_URL',
    looksAt: 'whether the HTTP API at `PROMETHEUS_URL` answers as Prometheus does',
    because: 'without it breakers go by what their own process sees',
    remedy:
      'correct PROMETHEUS_URL, http://user:password@prometheus:9090, with the path it is served under',
    remedies: {
      tls: 'begin PROMETHEUS_URL with https:// where it speaks TLS, and with http:// where it does not; trust its certificate with NODE_EXTRA_CA_CERTS=/path/to/ca.pem',
    },
  },
  checks: {
    'prometheus-query': on(
      'query',
      {
        looksAt:
          'whether the question that breakers go by is answered, with a vector of 64 series at most',
        because: 'an answer that can’t be used changes nothing: breakers go by their own process',
        remedy: 'ask it by hand: docs/resilience.md has what is expected',
      },
      // No series is what it answers while nothing fails.
      ({ reason, detail }) =>
        reason === undefined || reason === 'empty'
          ? ok(detail)
          : broken(`it can’t be used (${reason}): ${detail}`),
    ),
    'prometheus-scraped': on(
      'scraped',
      {
        looksAt: 'whether instances of the namespace are scraped, and were so lately',
        because: `the calls of fewer than ${leastInstances} instances, or of more than ${oldSeconds} s ago, say nothing of all of them`,
        remedy:
          'scrape each instance and `lockstep serve` at /metrics, at least every 30 s (ops/prometheus/prometheus.yml)',
      },
      ({ instances, ageSeconds }) => {
        if (ageSeconds === undefined) return warning('no instance of the namespace is scraped')
        const found = `${countText(instances, 'instance')}, ${secondsText(ageSeconds)} ago`
        return instances < leastInstances || ageSeconds > oldSeconds ? warning(found) : ok(found)
      },
    ),
    'prometheus-labels': on(
      'scraped',
      {
        looksAt: 'whether the scrape renames the label `namespace` to `exported_namespace`',
        because: 'the question that breakers go by finds nothing then',
        remedy: 'set honor_labels: true in the scrape_config, or give the instances a `query`',
      },
      ({ renamed }) =>
        renamed === 0
          ? ok('the labels are as the instances have them')
          : broken(`${countText(renamed, 'instance')} with the label exported_namespace`),
    ),
    'prometheus-clock': on(
      'clock',
      {
        looksAt: 'the clock of the server beside the one of this machine',
        because: 'an answer that seems older than 30 s is not used',
        remedy: 'let both machines have their time from NTP',
      },
      clockVerdict,
    ),
  },
}
