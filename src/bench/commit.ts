import { execFile } from 'node:child_process'
import { realpathSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** What is measured: the commit, with `-dirty` where files differ from it; `null` outside of a clone. */
export async function commitOf(folder: string = root): Promise<string | null> {
  const git = async (...args: readonly string[]): Promise<string> => {
    const { stdout } = await promisify(execFile)('git', args, { cwd: folder })
    return stdout.trim()
  }
  try {
    // Installed as a package it may lie in somebody else's repository.
    const top = await git('rev-parse', '--show-toplevel')
    if (realpathSync(top) !== realpathSync(folder)) return null
    return await git('describe', '--always', '--dirty', '--abbrev=40', '--exclude=*')
  } catch {
    return null
  }
}
