import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'

const slow = {
  testTimeout: 30_000,
  hookTimeout: 60_000,
  globalSetup: ['test/support/global-setup.ts'],
}

export default defineConfig({
  test: {
    // Most tests wait for something most of the time: on two cores three files keep both busy, where
    // Vitest would run one.
    maxWorkers: Math.max(3, availableParallelism() - 1),
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts', 'test/property/**/*.test.ts'] } },
      { test: { name: 'contract', include: ['test/contract/**/*.test.ts'], ...slow } },
      {
        test: {
          name: 'integration',
          include: ['test/{integration,fault}/**/*.test.ts'],
          ...slow,
        },
      },
      {
        test: {
          name: 'proof',
          include: ['test/{simulation,history}/**/*.test.ts'],
          ...slow,
          testTimeout: 600_000,
          // After all others, since it takes all the cores that there are: the simulator one, the mutants
          // one, and the processes of the history what is left.
          sequence: { groupOrder: 1 },
          maxWorkers: 3,
        },
      },
      {
        test: {
          name: 'degradation',
          include: ['test/degradation/**/*.test.ts'],
          ...slow,
          // Alone, since it compares what calls take.
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'types',
          include: [],
          typecheck: { enabled: true, only: true, include: ['test/types/**/*.test-d.ts'] },
        },
      },
    ],
  },
})
