/** Somebody with psql, who has never heard of a cache: the table's triggers tell of what he writes. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { onTestFinished } from 'vitest'
import { randomBelow } from '../../src/demo/random.ts'
import { folderWith, pathFolders } from '../support/servers.ts'
import type { Recording } from './recording.ts'

export interface Psql {
  readonly isThere: boolean
  /** SIGKILL; the next write has a new one. */
  kill(): boolean
  stop(): Promise<void>
}

export interface PsqlOptions {
  readonly url: string
  readonly recording: Recording
  readonly random: () => number
  /** Those that only triggers tell of. */
  readonly foreignIds: readonly number[]
}

/** No process of the crew has this number. */
const number = 0
const pauseMs = 80
const answerDeadlineMs = 3_000

/** `undefined` where there is no psql. */
export function startPsql(options: PsqlOptions): Psql | undefined {
  const folder = psqlFolder()
  return folder === undefined ? undefined : new PsqlWriter(`${folder}/psql`, options)
}

function psqlFolder(): string | undefined {
  try {
    return folderWith(['psql'], pathFolders())
  } catch {
    return undefined
  }
}

class PsqlWriter implements Psql {
  readonly #command: string
  readonly #options: PsqlOptions
  readonly #ended: Promise<void>
  #isOver = false
  #psql: ChildProcessWithoutNullStreams | undefined
  #hear: (line: string | undefined) => void = () => {}

  constructor(command: string, options: PsqlOptions) {
    this.#command = command
    this.#options = options
    onTestFinished(() => void this.#psql?.kill('SIGKILL'))
    this.#ended = this.#run()
  }

  get isThere(): boolean {
    return this.#psql !== undefined
  }

  kill(): boolean {
    return this.#psql?.kill('SIGKILL') ?? false
  }

  async stop(): Promise<void> {
    this.#isOver = true
    await this.#ended
    this.kill()
  }

  async #run(): Promise<void> {
    for (let n = 1; !this.#isOver; n++) {
      await this.#write(n)
      await new Promise((resolve) =>
        setTimeout(resolve, randomBelow(pauseMs, this.#options.random)),
      )
    }
  }

  async #write(n: number): Promise<void> {
    const { foreignIds, random, recording } = this.#options
    const psql = this.#psql ?? (await this.#start())
    const id = foreignIds[randomBelow(foreignIds.length, random)] as number
    const lines = this.#answer(n)
    const write = { process: number, n }
    recording.add({ kind: 'write', ...write, id, via: 'psql', begin: recording.now() })
    psql.stdin.write(`${statement(id, `${number}:${n}`)};\n\\echo done ${n} :SQLSTATE\n`)
    const answer = await lines
    const end = recording.now()
    const state = answer?.at(-1)?.split(' ')[2]
    const version = Number(answer?.[0])
    if (state === '00000' && version > 0) {
      recording.add({ kind: 'wrote', ...write, end, outcome: 'unfenced', version })
    } else {
      // The connection may have broken when the server had committed.
      recording.add({ kind: 'wrote', ...write, end, outcome: 'unknown' })
      this.kill()
    }
  }

  /** The lines up to the one that says so; `undefined`: psql has ended, or takes too long. */
  #answer(n: number): Promise<readonly string[] | undefined> {
    const lines: string[] = []
    return new Promise((resolve) => {
      const late = setTimeout(() => resolve(undefined), answerDeadlineMs)
      this.#hear = (line) => {
        if (line !== undefined) lines.push(line)
        if (line !== undefined && !line.startsWith(`done ${n} `)) return
        clearTimeout(late)
        resolve(line === undefined ? undefined : lines)
      }
    })
  }

  async #start(): Promise<ChildProcessWithoutNullStreams> {
    const psql = spawn(this.#command, ['-X', '-q', '-A', '-t', this.#options.url], {
      env: { ...process.env, PGCONNECT_TIMEOUT: '2', PGOPTIONS: '-c statement_timeout=1000' },
    })
    this.#psql = psql
    psql.stdin.on('error', () => {})
    psql.stderr.resume()
    psql.once('close', () => {
      if (this.#psql === psql) this.#psql = undefined
      this.#hear(undefined)
    })
    createInterface({ input: psql.stdout }).on('line', (line) => this.#hear(line))
    await once(psql, 'spawn')
    return psql
  }
}

const statement = (id: number, writer: string): string => `
  with changed as (
    update history_foreign set version = version + 1, writer = '${writer}' where id = ${id}
    returning id, version, writer
  ), logged as (
    insert into history_log (id, version, writer) select id, version, writer from changed
  )
  select version from changed`
