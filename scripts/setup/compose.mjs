// The last resort: docker-compose.yml, as a project of this clone's own, so that neither
// containers nor volumes are shared with another clone.

import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { readJson, SetupError, writeJson } from './checkout.mjs'
import { freePort } from './server.mjs'

/** Brings the service up and waits until it is healthy; its port on this machine. */
export async function composeUp(checkout, service, settings, say) {
  assertEngine(settings)
  writeJson(recordFile(checkout, service.key), { root: checkout.root })
  const running = publishedPort(checkout, service, settings)
  if (running) return running
  say(`Starting ${service.name} with docker compose`)
  const portVariable = `LOCKSTEP_COMPOSE_${service.key.toUpperCase()}_PORT`
  const env = { ...settings, [portVariable]: String(await freePort()) }
  const up = compose(checkout, ['up', '--detach', '--wait', service.key], env, 600_000)
  if (up.status !== 0) throw new Error(`docker compose up failed: ${messageOf(up)}`)
  return publishedPort(checkout, service, settings)
}

/** Stops the service's container if this clone started it; true if it did. */
export function composeStop(checkout, key, settings = process.env) {
  const file = recordFile(checkout, key)
  if (readJson(file)?.root !== checkout.root) return false
  const stop = compose(checkout, ['stop', key], settings, 60_000)
  if (stop.status !== 0) throw new SetupError(`docker compose stop failed: ${messageOf(stop)}`)
  rmSync(file, { force: true })
  return true
}

function assertEngine(env) {
  const info = spawnSync('docker', ['info'], { env, encoding: 'utf8', timeout: 5_000 })
  if (info.error?.code === 'ENOENT') throw new Error('no docker on the PATH')
  if (info.status !== 0) throw new Error(`no engine answers: ${messageOf(info)}`)
}

function publishedPort(checkout, service, settings) {
  const args = ['port', service.key, String(service.composePort)]
  const { status, stdout } = compose(checkout, args, settings, 10_000)
  return status === 0 ? Number(/:(\d+)\s*$/.exec(stdout)?.[1]) || undefined : undefined
}

function compose({ root, namespace }, args, env, timeout) {
  const file = ['--file', join(root, 'docker-compose.yml'), '--project-name', namespace]
  return spawnSync('docker', ['compose', ...file, ...args], { env, encoding: 'utf8', timeout })
}

function recordFile({ state }, key) {
  return join(state, `compose-${key}.json`)
}

function messageOf(run) {
  return (run.stderr || run.error?.message || '').trim().split('\n').slice(-3).join(' ')
}
