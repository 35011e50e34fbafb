import { fileURLToPath } from 'node:url'
import { checkoutAt, SetupError } from './setup/checkout.mjs'
import { build } from './setup/dist.mjs'

try {
  build(checkoutAt(fileURLToPath(new URL('..', import.meta.url))))
} catch (error) {
  console.error(error instanceof SetupError ? error.message : error)
  process.exitCode = 1
}
