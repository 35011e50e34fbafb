/** README's ten lines compile against the front door, and run. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import ts from 'typescript'
import { expect, onTestFinished, test } from 'vitest'
import { openPool } from '../../src/postgres/pool.ts'
import { required } from '../support/world.ts'

const root = new URL('../../', import.meta.url)
const pathTo = (file: string): string => fileURLToPath(new URL(file, root))
const schema = `readme_${process.pid}`

function example(): string {
  const block = /```ts\n([\s\S]*?)```/.exec(readFileSync(pathTo('README.md'), 'utf8'))?.[1]
  if (!block) throw new Error('README has no example')
  return block
}

function folder(): string {
  const made = mkdtempSync(pathTo('.lockstep/readme-'))
  onTestFinished(() => rmSync(made, { recursive: true }))
  return made
}

test('README’s example compiles', () => {
  const file = `${folder()}/example.ts`
  writeFileSync(file, example())
  const { config } = ts.readConfigFile(pathTo('tsconfig.json'), ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, pathTo('.'))
  const paths = { lockstep: [pathTo('src/index.ts')] }
  const program = ts.createProgram([file], { ...options, paths, noUnusedLocals: false })
  const messages = ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
  expect(messages).toEqual([])
}, 60_000)

test('README’s example runs', async () => {
  const pool = openPool(required('DATABASE_URL'))
  onTestFinished(async () => {
    await pool.knex.raw(`drop schema ${schema} cascade`)
    await pool.close()
  })
  await pool.knex.raw(`create schema ${schema}`)
  await pool.knex.raw(`create table ${schema}.cities (id int primary key, name text)`)
  await pool.knex.raw(`insert into ${schema}.cities values (42, 'Lutetia')`)
  const url = new URL(required('DATABASE_URL'))
  url.searchParams.set('options', `-c search_path=${schema}`)
  const file = `${folder()}/example.mjs`
  const { outputText } = ts.transpileModule(example(), {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
  })
  writeFileSync(
    file,
    outputText
      .replace("'lockstep'", `'${new URL('dist/index.js', root)}'`)
      .replace("'shop'", `'${schema}'`),
  )
  const { stdout } = await promisify(execFile)(process.execPath, [file], {
    env: { ...process.env, DATABASE_URL: url.href },
  })
  expect(stdout).toContain("name: 'Lutetia'")
  expect(stdout).toContain("name: 'Paris'")
})
