import type { CacheMethods } from '../types.ts'

/** All that a metric of the cache has, whatever its labels. */
export async function metricOf(
  cache: Pick<CacheMethods, 'metrics'>,
  name: string,
): Promise<number> {
  const found = await cache.metrics().getSingleMetric(name)?.get()
  return (found?.values ?? []).reduce((sum, { value }) => sum + value, 0)
}
