/** The house (STYLE §1): imports point down, never sideways, and each package has one owner. */
import { readdirSync, readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

/**
 * The rungs of the ladder, from below, and which rooms stand on each. A room may import from lower
 * rungs and from itself, and not from its neighbours. Files at the top of `src` are the room `.`.
 */
const rungs: readonly (readonly string[])[] = [
  ['model'],
  ['resilience', 'telemetry'],
  ['memory', 'redis', 'postgres', 'kafka', 'prometheus', 'coordinator'],
  ['operations'],
  ['admin'],
  ['.', 'demo', 'bench', 'testing'],
]
/** On the highest rung everything may import everything. */
const top = rungs.length - 1

/** Who alone may import a package: a room, or a file at the top. */
const owners: Readonly<Record<string, string>> = {
  'bloom-filters': 'memory',
  commander: 'main.ts',
  ioredis: 'redis',
  kafkajs: 'kafka',
  knex: 'postgres',
  opossum: 'resilience',
  pg: 'postgres',
  pino: 'telemetry',
  'prom-client': 'telemetry',
}

interface Import {
  /** As `coordinator/read.ts`. */
  readonly file: string
  readonly specifier: string
}

const src = fileURLToPath(new URL('../../src/', import.meta.url))
const files = readdirSync(src, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
  .map((entry) => relative(src, join(entry.parentPath, entry.name)).split(sep).join('/'))

/** `import … from`, `export … from`, `import '…'`, `import('…')`, `require('…')` and `require.resolve`. */
const importPattern =
  /(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire(?:\.resolve)?\s*\(\s*)(['"])([^'"\n]+)\1/g

const importsOf = (file: string, source: string): readonly Import[] =>
  [...withoutComments(source).matchAll(importPattern)].map((match) => ({
    file,
    specifier: match[2] as string,
  }))

const withoutComments = (source: string): string =>
  source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')

const imports = files.flatMap((file) => importsOf(file, readFileSync(join(src, file), 'utf8')))

const roomOf = (file: string): string => (file.includes('/') ? (file.split('/')[0] as string) : '.')
const rungOf = (room: string): number => rungs.findIndex((rooms) => rooms.includes(room))
const isRelative = ({ specifier }: Import): boolean => specifier.startsWith('.')
const isBuiltin = ({ specifier }: Import): boolean =>
  specifier.startsWith('node:') || builtinModules.includes(specifier)
const targetOf = ({ file, specifier }: Import): string =>
  relative(src, resolve(src, dirname(file), specifier))
    .split(sep)
    .join('/')
const packageOf = ({ specifier }: Import): string =>
  specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')

/** Why an import of a file of `src` is not allowed; `undefined` when it is. */
function wrongDirection(one: Import): string | undefined {
  const [from, to] = [roomOf(one.file), roomOf(targetOf(one))]
  const [lower, upper] = [rungOf(to), rungOf(from)]
  if (from === to || upper === top || (lower >= 0 && lower < upper)) return undefined
  return `${one.file} imports ${targetOf(one)}`
}

/** Why an import of a package is not allowed; `undefined` when it is. */
function wrongOwner(one: Import): string | undefined {
  const owner = owners[packageOf(one)]
  if (owner === undefined) return `${one.file} imports ${packageOf(one)}, which has no owner yet`
  const isOwner = owner === roomOf(one.file) || owner === one.file
  return isOwner ? undefined : `${one.file} imports ${packageOf(one)}, which is ${owner}'s`
}

test('every file of src stands in a known room', () => {
  expect(files.length).toBeGreaterThan(40)
  expect(files.filter((file) => rungOf(roomOf(file)) < 0)).toEqual([])
})

test('imports point down, never sideways', () => {
  const found = imports.filter(isRelative)
  expect(found.length).toBeGreaterThan(100)
  expect(found.map(wrongDirection).filter((why) => why !== undefined)).toEqual([])
})

test('imports of our own files stay in src, and name files that are there', () => {
  const missing = imports.filter(isRelative).filter((one) => !files.includes(targetOf(one)))
  expect(missing.map((one) => `${one.file} imports ${targetOf(one)}`)).toEqual([])
})

test('each package is imported by its owner alone', () => {
  const found = imports.filter((one) => !isRelative(one) && !isBuiltin(one))
  expect(found.length).toBeGreaterThan(3)
  expect(found.map(wrongOwner).filter((why) => why !== undefined)).toEqual([])
})

/** Whatever is loaded at run time with a file, from it on: files and packages. */
function loadedWith(start: string): { files: Set<string>; packages: Set<string> } {
  const files = new Set([start])
  const packages = new Set<string>()
  for (const file of files) {
    const source = readFileSync(join(src, file), 'utf8')
    const atRunTime = source.replace(/^(import|export) type [^'"]*from .*$/gm, '')
    for (const one of importsOf(file, atRunTime)) {
      if (isRelative(one)) files.add(targetOf(one))
      else if (!isBuiltin(one)) packages.add(packageOf(one))
    }
  }
  return { files, packages }
}

test('lockstep/testing loads no client of a service, nor a test framework', () => {
  const { files: loaded, packages } = loadedWith('testing.ts')
  expect([...packages]).toEqual(['prom-client'])
  expect([...loaded]).toContain('running-cache.ts')
  expect([...loadedWith('index.ts').packages].sort()).toEqual([
    'bloom-filters',
    'ioredis',
    'kafkajs',
    'knex',
    'opossum',
    'pg',
    'prom-client',
  ])
})

test('what Node brings is named node:, so that no package can take its place', () => {
  const bare = imports.filter((one) => isBuiltin(one) && !one.specifier.startsWith('node:'))
  expect(bare).toEqual([])
})

test('folders are one level deep, but for many things of one kind', () => {
  const deep = files.filter((file) => file.split('/').length > 2)
  expect(deep.filter((file) => !file.startsWith('memory/policies/'))).toEqual([])
})

test('nothing but config.ts reads the environment', () => {
  const reading = files.filter((file) =>
    /\bprocess\.env\b/.test(withoutComments(readFileSync(join(src, file), 'utf8'))),
  )
  expect(reading).toEqual(['config.ts'])
})

test('the rules find what they forbid, however it is written', () => {
  const source = `
    import type { A } from '../redis/l2.ts'
    export { b } from "../coordinator/read.ts"
    const c = await import('../../outside.ts')
    import 'pg'
    // import { d } from '../memory/region.ts'
    const e = require('express')
    import { covers } from '../model/snapshot.ts'
    import { Hop } from '../resilience/hop.ts'
    import { f } from './g.ts'
  `
  const found = importsOf('memory/x.ts', source)
  expect(found.filter(isRelative).map(wrongDirection)).toEqual([
    'memory/x.ts imports redis/l2.ts',
    'memory/x.ts imports coordinator/read.ts',
    'memory/x.ts imports ../outside.ts',
    undefined,
    undefined,
    undefined,
  ])
  expect(found.filter((one) => !isRelative(one)).map(wrongOwner)).toEqual([
    "memory/x.ts imports pg, which is postgres's",
    'memory/x.ts imports express, which has no owner yet',
  ])
  expect(
    importsOf('model/y.ts', "import { x } from '../resilience/hop.ts'").map(wrongDirection),
  ).toEqual(['model/y.ts imports resilience/hop.ts'])
})
