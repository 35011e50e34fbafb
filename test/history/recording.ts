/**
 * The files of a history while it runs: one of each process, one of the runner's own, and in the end
 * the one that they are joined to.
 */
import { createReadStream, createWriteStream, openSync, readdirSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { finished } from 'node:stream/promises'
import type { FaultLine, Header, Line } from './format.ts'

export interface Recording {
  readonly epoch: bigint
  /** Nanoseconds since the epoch. */
  now(): number
  add(line: Line): void
  /** Runs a fault and adds its line; `kills` is how many processes it has ended. */
  fault(fault: string, target: string, run: () => Promise<{ kills: number }>): Promise<void>
  readonly kills: number
  /** The kinds of faults so far. */
  readonly faults: ReadonlySet<string>
  /** A file for another process. */
  fileOf(process: number): string
  /** All of it in one file. */
  join(
    file: string,
    header: Header,
    end: readonly Line[],
  ): Promise<{ writes: number; reads: number }>
}

export function openRecording(folder: string): Recording {
  const epoch = process.hrtime.bigint()
  const now = (): number => Number(process.hrtime.bigint() - epoch)
  const output = openSync(join(folder, 'runner.jsonl'), 'a')
  const faults = new Set<string>()
  let kills = 0
  const add = (line: Line): void => {
    writeSync(output, textOf(line))
  }
  return {
    epoch,
    now,
    add,
    fault: async (fault, target, run) => {
      const begin = now()
      const done = await run()
      const line: FaultLine = { kind: 'fault', fault, target, begin, end: now() }
      add(done.kills > 0 ? { ...line, kills: done.kills } : line)
      faults.add(fault)
      kills += done.kills
    },
    get kills() {
      return kills
    },
    faults,
    fileOf: (number) => join(folder, `${number}.jsonl`),
    join: (file, header, end) => joinAll(folder, file, header, end),
  }
}

const textOf = (line: Line): string => `${JSON.stringify(line)}\n`

async function joinAll(
  folder: string,
  file: string,
  header: Header,
  end: readonly Line[],
): Promise<{ writes: number; reads: number }> {
  const output = createWriteStream(file)
  const counts = { writes: 0, reads: 0 }
  const put = async (text: string): Promise<void> => {
    if (output.write(text)) return
    await new Promise<void>((resolve) => output.once('drain', resolve))
  }
  await put(textOf(header))
  for (const name of readdirSync(folder)) {
    for await (const text of createInterface({ input: createReadStream(join(folder, name)) })) {
      // A process that was killed may have been about to write the rest of it.
      if (!text.endsWith('}')) continue
      if (text.startsWith('{"kind":"wrote"')) counts.writes++
      if (text.startsWith('{"kind":"read"')) counts.reads++
      await put(`${text}\n`)
    }
  }
  for (const line of end) await put(textOf(line))
  output.end()
  await finished(output)
  return counts
}
