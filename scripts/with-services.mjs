// Runs a command with the addresses that the last setup found in its environment.

import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { checkoutAt, readServices, settingsOf } from './setup/checkout.mjs'

const [command, ...args] = process.argv.slice(2)
const checkout = checkoutAt(fileURLToPath(new URL('..', import.meta.url)))
const services = readServices(checkout)
if (!command || !services) {
  console.error(command ? 'No services: npm run services' : 'Usage: with-services.mjs CMD ARGS…')
  process.exit(2)
}

const child = spawn(command === 'node' ? process.execPath : command, args, {
  stdio: 'inherit',
  env: {
    ...settingsOf(checkout),
    DATABASE_URL: services.postgres.url,
    REDIS_URL: services.redis.url,
    ...(services.kafka?.url ? { KAFKA_BROKERS: services.kafka.url } : {}),
    ...(services.prometheus?.url ? { PROMETHEUS_URL: services.prometheus.url } : {}),
    LOCKSTEP_NAMESPACE: services.namespace,
  },
})

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => {
    // Ctrl-C reaches the whole process group: passed on, it would come twice.
    if (signal !== 'SIGINT' || !process.stdin.isTTY) child.kill(signal)
  })
}
child.on('error', (error) => {
  console.error(`${command} could not be run: ${error.message}`)
  process.exit(127)
})
child.on('exit', (code, signal) => {
  if (signal === null) process.exit(code)
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
})
