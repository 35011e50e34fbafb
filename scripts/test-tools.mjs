// Makes ready what only tests need: programs that they start themselves, beside the services.

import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { checkoutAt, readServices } from './setup/checkout.mjs'
import { installDebianPackage } from './setup/debian.mjs'
import { kafka, kafkaForTests } from './setup/kafka.mjs'

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

const checkout = checkoutAt(fileURLToPath(new URL('..', import.meta.url)))
// Also where setup has found a broker: some tests stop theirs. Where it found none, it has said so.
if (!readServices(checkout)?.kafka?.missing) {
  try {
    await kafkaForTests(checkout, console.log)
  } catch (error) {
    console.error(`Tests can't start a Kafka of their own: ${error.message}. ${kafka.advice}`)
  }
}

function isInstalled(name) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/opt/homebrew/bin']
  return folders.some((folder) => existsSync(join(folder, name)))
}
