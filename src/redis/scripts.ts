import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Cluster, Redis } from 'ioredis'

export type ScriptName = 'acquire' | 'fill' | 'invalidate' | 'probe' | 'release'

export interface Script {
  readonly source: string
  readonly sha: string
}

/** The scripts of `scripts/*.lua`, each with `fence.lua` before it (and its `#!` line before both). */
export function readScripts(): Record<ScriptName, Script> {
  const fence = read('fence')
  const script = (name: ScriptName): Script => {
    const act = read(name)
    const shebang = /^#!.*\n/.exec(act)?.[0] ?? ''
    const source = `${shebang}${fence}\n${act.slice(shebang.length)}`
    return { source, sha: createHash('sha1').update(source).digest('hex') }
  }
  return {
    acquire: script('acquire'),
    fill: script('fill'),
    invalidate: script('invalidate'),
    probe: script('probe'),
    release: script('release'),
  }
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
