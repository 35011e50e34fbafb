import { defineConfig } from 'vitest/config'

/** Not tests but runs, whose length is asked for: `npm run history` starts them. */
export default defineConfig({
  test: {
    include: ['test/history/*.run.ts'],
    maxWorkers: 2,
    // They have deadlines of their own, by what was asked for.
    testTimeout: 0,
    disableConsoleIntercept: true,
    reporters: ['dot'],
  },
})
