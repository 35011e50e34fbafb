/** The code of a page: it has to compile against the front door, and to run. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import ts from 'typescript'
import { onTestFinished } from 'vitest'
import { openPool } from '../../src/postgres/pool.ts'
import { required } from './world.ts'

const root = new URL('../../', import.meta.url)
const deadlineMs = 20_000

const pathTo = (file: string): string => fileURLToPath(new URL(file, root))

/** All of a page's TypeScript, in order, as one module. */
export function exampleOf(page: string): string {
  const blocks = [...readFileSync(pathTo(page), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)]
  if (blocks.length === 0) throw new Error(`${page} has no example`)
  return blocks.map(([, code]) => code).join('\n')
}

/** What the compiler says of the code of each page, with the options of this project; one program for all. */
export function complaintsAbout(pages: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const place = folder()
  const files = pages.map((page, index) => {
    const file = `${place}/page-${index}.ts`
    writeFileSync(file, exampleOf(page))
    return file
  })
  const { config } = ts.readConfigFile(pathTo('tsconfig.json'), ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, pathTo('.'))
  const paths = {
    lockstep: [pathTo('src/index.ts')],
    'lockstep/testing': [pathTo('src/testing.ts')],
  }
  const program = ts.createProgram(files, { ...options, paths, noUnusedLocals: false })
  const complaints = ts.getPreEmitDiagnostics(program)
  return new Map(
    pages.map((page, index) => [
      page,
      complaints
        .filter(({ file }) => !file || file.fileName.endsWith(`/page-${index}.ts`))
        .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')),
    ]),
  )
}

/** Runs it in a process of its own, and answers what it printed. */
export async function outputOf(
  code: string,
  { databaseUrl, namespace }: { databaseUrl: string; namespace: string },
): Promise<string> {
  const file = `${folder()}/example.mjs`
  const { outputText } = ts.transpileModule(code, {
    compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022 },
  })
  writeFileSync(
    file,
    outputText
      .replaceAll("'lockstep'", `'${new URL('dist/index.js', root)}'`)
      .replaceAll("'shop'", `'${namespace}'`),
  )
  return printedBy(file, databaseUrl)
}

/** Runs a file (from the root of the project), and answers what it printed. */
export async function printedBy(file: string, databaseUrl: string): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [file], {
    cwd: pathTo('.'),
    env: { ...process.env, DATABASE_URL: databaseUrl },
    timeout: deadlineMs,
  })
  return stdout
}

/** The database with a schema of the test's own, in which the statements were run; dropped at its end. */
export async function ownSchema(schema: string, statements: readonly string[]): Promise<string> {
  const url = new URL(required('DATABASE_URL'))
  url.searchParams.set('options', `-c search_path=${schema}`)
  const pool = openPool(url.href)
  onTestFinished(async () => {
    await pool.knex.raw(`drop schema if exists ${schema} cascade`)
    await pool.close()
  })
  for (const statement of [`create schema ${schema}`, ...statements]) await pool.knex.raw(statement)
  return url.href
}

function folder(): string {
  const made = mkdtempSync(pathTo('.lockstep/example-'))
  onTestFinished(() => rmSync(made, { recursive: true }))
  return made
}
