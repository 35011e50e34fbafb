/** L1 is trusted, and what lies in Redis is proven. */
export async function isProven(cached, wellId) {
  const [bounded, strong] = await Promise.all([
    cached.getEntry(wellId),
    cached.getEntry(wellId, { consistency: 'strong' }),
  ])
  return bounded.tier === 'l1' && strong.tier === 'l2' && strong.proven
}
