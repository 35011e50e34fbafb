import { createHash } from 'node:crypto'
import { expect } from 'vitest'

/**
 * A namespace of the running test's own, made from its file and name: tests run side by side in one
 * Redis and one database, and so do two runs.
 */
export function ownNamespace(): string {
  const { testPath, currentTestName } = expect.getState()
  const name = `${testPath} ${currentTestName} ${process.pid}`
  return `test-${createHash('sha256').update(name).digest('hex').slice(0, 12)}`
}
