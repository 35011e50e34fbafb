/** `lockstep/testing` as it is published: the examples of its page run, and it brings no client along. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import ts from 'typescript'
import { expect, onTestFinished, test } from 'vitest'

const root = new URL('../../', import.meta.url)
const pathTo = (file: string): string => fileURLToPath(new URL(file, root))
const run = promisify(execFile)

/** All code of the page: the blocks are one file. */
function example(): string {
  const page = readFileSync(pathTo('docs/testing-your-code.md'), 'utf8')
  const blocks = [...page.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, block]) => block)
  if (blocks.length < 4) throw new Error('the page has lost its examples')
  return blocks.join('\n')
}

/** Within the package, so that `lockstep` is found by its exports. */
function folder(): string {
  const made = mkdtempSync(pathTo('.lockstep/testing-'))
  onTestFinished(() => rmSync(made, { recursive: true }))
  return made
}

test('the examples pass, under Node’s own test runner', async () => {
  const file = `${folder()}/example.test.mjs`
  const { outputText } = ts.transpileModule(example(), {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
  })
  writeFileSync(file, outputText)
  // A process that something keeps alive would be ended, and fail the test.
  const { stdout } = await run(process.execPath, ['--test', '--test-reporter=tap', file], {
    timeout: 20_000,
  })
  const count = example().match(/^test\(/gm)?.length
  expect(stdout).toContain(`# pass ${count}\n`)
  expect(stdout).toContain('# fail 0\n')
}, 60_000)

const usersScript = `
  import { createRequire } from 'node:module'
  const { testCache } = await import('lockstep/testing')
  const load = async (ids) => ids.map((id) => ({ id }))
  const { defineEntity } = await import(process.argv[2])
  const thing = defineEntity('thing', { load, id: (row) => row.id })
  const { cache } = await testCache({ entities: { thing }, rows: { thing: [{ id: 1 }] } })
  await cache.thing.get(1)
  await cache.thing.write(1, () => {})
  if (process.argv[3]) await import(process.argv[3])
  const { cache: loaded } = createRequire(import.meta.url)
  const packages = Object.keys(loaded).map((path) => path.split('node_modules/')[1]?.split('/')[0])
  console.log(JSON.stringify([...new Set(packages)]))
`

/** The packages that a process has loaded which opened a cache in memory and never closed it. */
async function packagesLoaded(also?: string): Promise<readonly string[]> {
  const file = `${folder()}/script.mjs`
  writeFileSync(file, usersScript)
  const args = [file, new URL('dist/model/entity.js', root).href, ...(also ? [also] : [])]
  const { stdout } = await run(process.execPath, args, { timeout: 20_000 })
  return JSON.parse(stdout)
}

test('it loads no client, and a cache that nobody closed keeps no process alive', async () => {
  const clients = ['pg', 'knex', 'ioredis', 'opossum']
  const loaded = await packagesLoaded()
  expect(loaded.filter((one) => clients.includes(one))).toEqual([])
}, 60_000)

test('that would have been noticed', async () => {
  const packages = await packagesLoaded('lockstep')
  expect(packages).toEqual(expect.arrayContaining(['pg', 'knex', 'ioredis']))
}, 60_000)
