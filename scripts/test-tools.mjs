// Makes ready what only tests need: programs that they start themselves, beside the services.

import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { installDebianPackage } from './setup/debian.mjs'

const TOOLS = [
  {
    name: 'pgbouncer',
    advice: 'Debian, Ubuntu: apt-get install pgbouncer. macOS: brew install pgbouncer.',
  },
]

for (const { name, advice } of TOOLS) {
  if (isInstalled(name)) continue
  try {
    installDebianPackage(name, process.env, console.log)
  } catch (error) {
    // The tests that need it fail; all others need not.
    console.error(`${name} is missing: ${error.message}. ${advice}`)
  }
}

function isInstalled(name) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/opt/homebrew/bin']
  return folders.some((folder) => existsSync(join(folder, name)))
}
