import { fileURLToPath } from 'node:url'
import { checkoutAt } from './checkout.mjs'
import { buildIfNeeded } from './dist.mjs'
import { findServices, tableOf } from './find-services.mjs'
import { withLock } from './lock.mjs'
import { installPackages } from './packages.mjs'

export async function setUp(folder, say = console.log) {
  const checkout = checkoutAt(fileURLToPath(folder))
  await withLock(checkout, async () => {
    installPackages(checkout, say)
    buildIfNeeded(checkout, say)
    say(tableOf(await findServices(checkout, { say })))
  })
}
