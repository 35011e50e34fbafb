// Makes a fresh clone ready to start or test: packages, dist, PostgreSQL, Redis
// and, where they are to be had, Kafka and Prometheus. Needs only Node.
const [major, minor] = process.versions.node.split('.').map(Number)
if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Lockstep needs Node 20.19 or newer; this is ${process.version}.`)
  process.exit(1)
}

// Only now: an older Node fails to link these, with a message that helps nobody.
const { SetupError } = await import('./setup/checkout.mjs')
const { setUp } = await import('./setup/set-up.mjs')
try {
  await setUp(new URL('..', import.meta.url))
} catch (error) {
  console.error(error instanceof SetupError ? `\n${error.message}` : error)
  process.exitCode = 1
}
