/**
 * One prom-client registry for one cache, never the global one. Histograms are observed; all else
 * is read when it is scraped, from numbers that are counted anyway.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import {
  catalogue,
  type HistogramName,
  type LabelOf,
  type MetricInfo,
  type MetricName,
  type SampledName,
  secondsBuckets,
} from './catalogue.ts'

export type { Registry } from 'prom-client'

export type Sample<Label extends string> = readonly [
  value: number,
  labels?: Readonly<Record<Label, string>>,
]
export type Samplers = {
  readonly [Name in SampledName]: () => Iterable<Sample<LabelOf<Name>>>
}

export interface OpenRegistry {
  readonly registry: Registry
  observe<Name extends HistogramName>(
    name: Name,
    seconds: number,
    labels: Readonly<Record<LabelOf<Name>, string>>,
  ): void
  /** Shows the labels before the first observation, so that a rate has something to start from. */
  zero<Name extends HistogramName>(
    name: Name,
    labels: Readonly<Record<LabelOf<Name>, string>>,
  ): void
}

export function openRegistry(namespace: string, samplers: Samplers): OpenRegistry {
  const registry = new Registry()
  const histograms = new Map<MetricName, Histogram>()
  for (const [name, info] of Object.entries(catalogue) as [MetricName, MetricInfo][]) {
    // A label of its own, not a default label of the registry: those are lost when registries are merged.
    const labelNames = ['namespace', ...info.labels]
    const common = { name, help: info.help, labelNames, registers: [registry] }
    if (info.type === 'histogram') {
      histograms.set(name, new Histogram({ ...common, buckets: [...secondsBuckets] }))
      continue
    }
    const sample = samplers[name as SampledName] as () => Iterable<Sample<string>>
    if (info.type === 'gauge') {
      new Gauge({
        ...common,
        collect() {
          this.reset()
          for (const [value, labels] of sample()) this.set({ namespace, ...labels }, value)
        },
      })
    } else {
      new Counter({
        ...common,
        collect() {
          this.reset()
          for (const [value, labels] of sample()) this.inc({ namespace, ...labels }, value)
        },
      })
    }
  }
  return {
    registry,
    observe: (name, seconds, labels) =>
      (histograms.get(name) as Histogram).observe({ namespace, ...labels }, seconds),
    zero: (name, labels) => (histograms.get(name) as Histogram).zero({ namespace, ...labels }),
  }
}
