import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Cluster, Redis } from 'ioredis'

const names = [
  'acquire',
  'barrier',
  'doctor-rights',
  'doctor-write',
  'fill',
  'filter-abandon',
  'filter-asked',
  'filter-begin',
  'filter-finish',
  'filter-merge',
  'filter-part',
  'filter-read',
  'filter-renew',
  'filter-started',
  'filter-status',
  'flags',
  'invalidate',
  'lookup',
  'lookup-asked',
  'probe',
  'release',
  'remember',
  'renew',
  'restore',
] as const

export type ScriptName = (typeof names)[number]

export interface Script {
  readonly source: string
  readonly sha: string
}

/** The scripts of `scripts/*.lua`, with the parts that each names in lines `-- @use part` in their place. */
export function readScripts(): Record<ScriptName, Script> {
  const script = (name: ScriptName): Script => {
    const source = read(name).replaceAll(/^-- @use (.+)$/gm, (_, part: string) => read(part))
    return { source, sha: createHash('sha1').update(source).digest('hex') }
  }
  const scripts = names.map((name) => [name, script(name)])
  return Object.fromEntries(scripts) as Record<ScriptName, Script>
}

function read(name: string): string {
  return readFileSync(new URL(`./scripts/${name}.lua`, import.meta.url), 'utf8')
}

/** EVALSHA; a server that doesn't know the script (restarted, flushed) gets it whole. */
export async function runScript(
  redis: Redis | Cluster,
  script: Script,
  keys: readonly string[],
  args: readonly (string | Buffer)[],
): Promise<unknown> {
  try {
    return await redis.callBuffer('EVALSHA', script.sha, keys.length, ...keys, ...args)
  } catch (error) {
    if (!(error instanceof Error && error.message.startsWith('NOSCRIPT'))) throw error
    return redis.callBuffer('EVAL', script.source, keys.length, ...keys, ...args)
  }
}
