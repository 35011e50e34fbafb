import { fileURLToPath } from 'node:url'
import { checkoutAt, SetupError } from './setup/checkout.mjs'
import { statusOf, stopServices } from './setup/find-services.mjs'
import { withLock } from './setup/lock.mjs'

const checkout = checkoutAt(fileURLToPath(new URL('..', import.meta.url)))
const acts = {
  status: () => console.log(statusOf(checkout)),
  stop: async () => {
    const stopped = await withLock(checkout, () => stopServices(checkout))
    console.log(stopped.length ? `Stopped: ${stopped.join(', ')}` : 'This clone runs no services.')
  },
}

const act = acts[process.argv[2]]
if (!act) {
  console.error('Usage: node scripts/services.mjs status | stop')
  process.exit(2)
}
try {
  await act()
} catch (error) {
  console.error(error instanceof SetupError ? error.message : error)
  process.exitCode = 1
}
