import { defineConfig } from 'vitest/config'

/** Not tests but runs, which `npm run history` and `npm run degradation` start. */
export default defineConfig({
  test: {
    include: ['test/{history,degradation}/*.run.ts'],
    maxWorkers: 2,
    // They have deadlines of their own, by what was asked for.
    testTimeout: 0,
    disableConsoleIntercept: true,
    reporters: ['dot'],
  },
})
