/** What the tests of a file have in common that start processes in a world of their own each. */
import { afterEach, beforeEach, expect } from 'vitest'
import { now, type Process, type ProcessOptions, startProcess, World } from './process.ts'

/** `renewed` gets the world of each test, with these rows; in the end nothing of it is left. */
export function onStage(
  ids: readonly number[],
  renewed: (world: World) => void,
): { readonly start: (options?: ProcessOptions) => Promise<Process> } {
  let world: World
  let processes: Process[]
  beforeEach(() => {
    world = new World()
    processes = []
    world.seed(ids)
    renewed(world)
  })
  afterEach(async () => {
    for (const one of processes) await one.close()
    for (const { limiter } of processes) expect([limiter.running, limiter.waiting]).toEqual([0, 0])
    expect([world.clock.timers, world.redis.waiting]).toEqual([0, 0])
  })
  return {
    start: async (options = {}) => {
      const one = await now(world, startProcess(world, options))
      processes.push(one)
      return one
    },
  }
}
