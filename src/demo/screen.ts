/** What a person sees while the demo works: one line that is written over. */
import type { Progress } from './messages.ts'

const clearLine = '\r\x1b[K'
const barWidth = 30

export interface Screen {
  /** Overwritten by the next line. */
  live(text: string): void
  /** Stays. */
  line(text: string): void
}

/** On anything but a terminal the live lines are left out. */
export function screenOn(stream: NodeJS.WriteStream): Screen {
  if (!stream.isTTY) {
    return { live: () => {}, line: (text) => void stream.write(`${text}\n`) }
  }
  return {
    live: (text) => void stream.write(clearLine + text.slice(0, stream.columns)),
    line: (text) => void stream.write(`${clearLine}${text}\n`),
  }
}

export function progressBar(done: number, of: number): string {
  const filled = Math.round((done / of) * barWidth)
  const bar = '█'.repeat(filled) + '░'.repeat(barWidth - filled)
  return `Loading cities ${bar} ${done.toLocaleString('en-US')} of ${of.toLocaleString('en-US')}`
}

export interface Moment {
  readonly seconds: number
  readonly reads: number
  readonly sums: Progress
  readonly stale: number
}

/** The second between two moments, in a line. */
export function liveLine(now: Moment, before: Moment | undefined): string {
  const since = (count: (moment: Moment) => number): number =>
    count(now) - (before ? count(before) : 0)
  const l1 = since(({ sums }) => sums.l1Hits)
  const l2 = since(({ sums }) => sums.l2Hits)
  const misses = since(({ sums }) => sums.misses)
  const seconds = Math.max(0.001, now.seconds - (before?.seconds ?? 0))
  const share = (count: number): string =>
    `${((count / Math.max(1, l1 + l2 + misses)) * 100).toFixed(1).padStart(5)} %`
  const rate = (count: number): string => Math.round(count / seconds).toLocaleString('en-US')
  return [
    `${Math.round(now.seconds).toString().padStart(3)} s`,
    `${rate(since(({ reads }) => reads)).padStart(7)} reads/s`,
    `L1 ${share(l1)}`,
    `L2 ${share(l2)}`,
    `source ${share(misses)}`,
    `${rate(since(({ sums }) => sums.loads))} loads/s`,
    `${now.stale} stale so far`,
  ].join('   ')
}
