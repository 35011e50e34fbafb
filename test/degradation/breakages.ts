/** What is done to the way to a service, for as long as it takes, by the proxy before it. */
import type { TcpProxy } from '../support/tcp-proxy.ts'

export const breakages = ['refused', 'hung', '+100 ms', '+1 s', '30 % reset', 'flapping'] as const
export type Breakage = (typeof breakages)[number]

const resetShare = 0.3
const resetEveryMs = 1_000
/** Away for so long, there for so long: 0.5 Hz. */
const flapMs = 1_000

/** Begins it; what it returns ends it, and all is well again. */
export async function breakWay(proxy: TcpProxy, breakage: Breakage): Promise<() => Promise<void>> {
  switch (breakage) {
    case 'refused':
      await proxy.refuse()
      return () => proxy.pass()
    case 'hung':
      proxy.hang()
      return () => proxy.pass()
    // Half of it there, half of it back.
    case '+100 ms':
      proxy.delay(50)
      return () => proxy.pass()
    case '+1 s':
      proxy.delay(500)
      return () => proxy.pass()
    case '30 % reset':
      return repeatedly(proxy, resetEveryMs, () => proxy.resetSome(resetShare))
    case 'flapping': {
      let isAway = false
      return repeatedly(proxy, flapMs, async () => {
        isAway = !isAway
        if (isAway) await proxy.refuse()
        else await proxy.pass()
      })
    }
    default:
      return breakage satisfies never
  }
}

async function repeatedly(
  proxy: TcpProxy,
  everyMs: number,
  act: () => Promise<void> | void,
): Promise<() => Promise<void>> {
  let acting = Promise.resolve(act())
  const timer = setInterval(() => {
    acting = acting.then(act)
  }, everyMs)
  return async () => {
    clearInterval(timer)
    await acting
    await proxy.pass()
  }
}
