import { spawnSync } from 'node:child_process'
import { existsSync, rmSync, writeFileSync } from 'node:fs'

const POLICY = '/usr/sbin/policy-rc.d'

/** Installs a package with its service off; throws where that can't be done. */
export function installDebianPackage(name, settings, say) {
  if (!existsSync('/etc/debian_version') || process.getuid() !== 0) {
    throw new Error('only root on Debian or Ubuntu can have it installed')
  }
  say(`Installing Debian's ${name}`)
  withoutServiceStarts(() => {
    apt(settings, ['update'])
    apt(settings, ['install', '--yes', '--no-install-recommends', name])
  })
  // The package enables its service for the next boot.
  spawnSync('/usr/sbin/update-rc.d', [name, 'disable'], { stdio: 'ignore' })
}

// Debian's own switch: package scripts ask this program before they start a service, 101 is "no".
function withoutServiceStarts(work) {
  if (existsSync(POLICY)) return work()
  writeFileSync(POLICY, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    return work()
  } finally {
    rmSync(POLICY, { force: true })
  }
}

function apt(settings, args) {
  const env = { ...settings, DEBIAN_FRONTEND: 'noninteractive' }
  const options = ['-q', '-o', 'DPkg::Lock::Timeout=120']
  const run = spawnSync('/usr/bin/apt-get', [...options, ...args], { env, encoding: 'utf8' })
  if (run.status === 0) return
  throw new Error(`apt-get ${args[0]} failed: ${(run.stderr || run.error?.message || '').trim()}`)
}
