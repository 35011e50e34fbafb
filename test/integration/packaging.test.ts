/** The package as its users get it: packed, installed into an empty project elsewhere, used from there. */
import { execFile } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { connect, emptyDatabase } from '../support/database.ts'
import { ownNamespace } from '../support/namespace.ts'

/** What users may import, and the file of `src` that it is. */
const entryPoints: Readonly<Record<string, string>> = {
  lockstep: 'index.ts',
  'lockstep/testing': 'testing.ts',
}
/** Over twice what it is: enough for what comes, not for a folder that slips in. */
const most = { packedBytes: 2_500_000, unpackedBytes: 10_000_000 }

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../', import.meta.url))
const tsc = join(root, 'node_modules/typescript/bin/tsc')

interface Packed {
  readonly filename: string
  readonly size: number
  readonly unpackedSize: number
  readonly files: readonly { readonly path: string; readonly mode: number }[]
}

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>
  readonly exports: Readonly<Record<string, unknown>>
}

let place: string
let packed: Packed
/** The project of a user, and the package in it. */
let project: string
let installed: string
let manifest: Manifest

beforeAll(async () => {
  place = realpathSync(mkdtempSync(join(tmpdir(), 'lockstep-packaging-')))
  // Without scripts: other tests use dist, which `prepack` builds anew.
  const pack = ['pack', '--ignore-scripts', '--json', '--pack-destination', place]
  packed = (JSON.parse((await run('npm', pack, { cwd: root })).stdout) as [Packed])[0]
  project = join(place, 'project')
  installed = join(project, 'node_modules/lockstep')
  mkdirSync(project)
  write('package.json', JSON.stringify({ name: 'project', private: true, type: 'module' }))
  const install = ['install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts']
  await run('npm', [...install, join(place, packed.filename)], { cwd: project })
  manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as Manifest
}, 180_000)

afterAll(() => rmSync(place, { recursive: true, force: true }))

function write(file: string, text: string): void {
  writeFileSync(join(project, file), text)
}

/** Runs a file of the project's; what it prints. */
async function node(file: string, text: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  write(file, text)
  const options = { cwd: project, env: { ...process.env, ...env } }
  return (await run(process.execPath, ['--enable-source-maps', file], options)).stdout
}

/** The files below a folder, as `model/id.ts`. */
function filesOf(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
}

const source = (name: string): string => readFileSync(join(installed, name), 'utf8')

describe('the tarball', () => {
  test('has what is made of src, the migrations, the docs, and nothing else', () => {
    const src = filesOf(join(root, 'src'))
    const built = src.flatMap((file) =>
      file.endsWith('.ts')
        ? ['.js', '.js.map', '.d.ts', '.d.ts.map'].map((end) => file.replace(/\.ts$/, end))
        : [file],
    )
    const below = (folder: string): string[] =>
      filesOf(join(root, folder)).map((file) => `${folder}/${file}`)
    const expected = [
      ...built.map((file) => `dist/${file}`),
      ...['src', 'migrations', 'docs'].flatMap(below),
      'bin/lockstep.mjs',
      ...['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'],
    ]
    const paths = packed.files.map(({ path }) => path)
    expect([...paths].sort()).toEqual(expected.sort())
    const kinds =
      /^(src|dist)\/[^.]+\.(ts|lua|js|js\.map|d\.ts|d\.ts\.map)$|\.(md|sql)$|^docs\/events\.schema\.json$/
    const others = ['bin/lockstep.mjs', 'LICENSE', 'package.json']
    expect(paths.filter((path) => !kinds.test(path) && !others.includes(path))).toEqual([])
    expect(
      paths.filter((path) => /(^|\/)(\.[^/]*|test|examples|node_modules)(\/|$)/.test(path)),
    ).toEqual([])
  })

  test('is small', () => {
    expect(packed.size).toBeLessThan(most.packedBytes)
    expect(packed.unpackedSize).toBeLessThan(most.unpackedBytes)
  })

  test('depends on what it imports, and on nothing else', () => {
    const packages = new Set<string>()
    for (const file of filesOf(join(installed, 'dist'))) {
      if (!/\.(js|d\.ts)$/.test(file)) continue
      const text = source(`dist/${file}`).replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
      for (const [, name] of text.matchAll(/(?:\bfrom |\bimport ?\(?)'([^'.][^']*)'/g)) {
        if (name?.startsWith('node:')) continue
        packages.add(name as string)
        // Whoever compiles against the declarations needs those of a package that has none.
        const types = `node_modules/@types/${name}`
        if (file.endsWith('.d.ts') && existsSync(join(root, types))) packages.add(`@types/${name}`)
      }
    }
    expect([...packages].sort()).toEqual(Object.keys(manifest.dependencies).sort())
  })

  test('its maps lead to sources that are there', () => {
    const dist = join(installed, 'dist')
    const maps = filesOf(dist).filter((file) => file.endsWith('.map'))
    expect(maps.length).toBeGreaterThan(100)
    for (const file of maps) {
      const { sources } = JSON.parse(source(`dist/${file}`)) as { sources: string[] }
      expect(sources).toHaveLength(1)
      const at = join(dist, dirname(file), sources[0] as string)
      expect(existsSync(at), `${file} is of ${sources[0]}`).toBe(true)
      expect(source(`dist/${file.slice(0, -'.map'.length)}`)).toContain('//# sourceMappingURL=')
    }
  })
})

describe('from JavaScript', () => {
  test('each entry point exports what its source does', async () => {
    const names = Object.keys(manifest.exports).filter((name) => name !== './package.json')
    expect(names.map((name) => name.replace(/^\./, 'lockstep'))).toEqual(Object.keys(entryPoints))
    for (const [name, file] of Object.entries(entryPoints)) {
      const text = `import * as all from '${name}'; console.log(JSON.stringify(Object.keys(all)))`
      const ours = (await import(join(root, 'src', file))) as object
      expect(JSON.parse(await node('names.mjs', text))).toEqual(Object.keys(ours).sort())
    }
  })

  test('`lockstep migrate`, then a cache that reads and writes', async () => {
    const url = await emptyDatabase()
    const env = { DATABASE_URL: url, LOCKSTEP_NAMESPACE: ownNamespace() }
    const client = await connect(url)
    await client.query(`create table cities (id int primary key, name text);
      insert into cities values (42, 'Lutetia')`)
    const npx = ['--no-install', 'lockstep', 'migrate', '--json']
    const options = { cwd: project, env: { ...process.env, ...env } }
    const { ran } = JSON.parse((await run('npx', npx, options)).stdout) as { ran: string[] }
    expect(ran).toEqual(
      filesOf(join(root, 'migrations'))
        .filter((name) => /^\d/.test(name))
        .sort(),
    )
    const output = await node(
      'user.mjs',
      `import { entity, lockstep } from 'lockstep'
       const { DATABASE_URL, REDIS_URL, LOCKSTEP_NAMESPACE } = process.env
       const city = entity('city', {
         load: (ids, { db }) => db('cities').whereIn('id', ids),
         id: (row) => row.id,
       })
       const cache = await lockstep({
         namespace: LOCKSTEP_NAMESPACE,
         postgres: DATABASE_URL,
         redis: REDIS_URL,
         entities: { city },
         timing: { redisDeadline: '2s', loadDeadline: '20s', readDeadline: '25s', writeDeadline: '3s' },
       })
       const before = await cache.city.get(42)
       const { ticket } = await cache.city.write(42, (tx) =>
         tx('cities').where({ id: 42 }).update({ name: 'Paris' }),
       )
       const after = await cache.city.get(42, { ticket })
       await cache.close()
       console.log(JSON.stringify([before, after]))`,
      env,
    )
    expect(JSON.parse(output)).toEqual([
      { id: 42, name: 'Lutetia' },
      { id: 42, name: 'Paris' },
    ])
  })

  test('`require` from CommonJS gives the same', async () => {
    const text = `const { entity, LockstepError } = require('lockstep')
      import('lockstep').then((all) => console.log(entity === all.entity && LockstepError === all.LockstepError))`
    expect(await node('user.cjs', text)).toBe('true\n')
  })

  test('an import starts nothing and leaves nothing behind', async () => {
    const text = `
      const state = () => JSON.stringify([
        Object.getOwnPropertyNames(globalThis),
        process.eventNames().map((name) => [String(name), process.listenerCount(name)]),
        process.getActiveResourcesInfo().filter((name) => !/Pipe|FS|TTY/.test(name)),
      ])
      const before = state()
      await import('lockstep')
      console.log(state() === before ? 'the same' : [before, state()].join('\\n'))`
    expect(await node('effects.mjs', text)).toBe('the same\n')
  })

  test('a stack leads into the sources', async () => {
    const text = `import { entity } from 'lockstep'
      try { entity('?', {}) } catch (error) { console.log(error.stack) }`
    expect(await node('stack.mjs', text)).toContain(
      join('node_modules/lockstep/src/model/entity.ts'),
    )
  })
})

describe('from TypeScript', () => {
  const text = `import { type Cache, entity, lockstep, type WriteResult } from 'lockstep'
interface City { readonly id: number; readonly name: string }
const city = entity('city', {
  load: (ids: number[], { db }) => db<City>('cities').whereIn('id', ids),
  id: (row) => row.id,
})
export async function use(): Promise<string | undefined> {
  const cache: Cache<{ city: typeof city }> = await lockstep({
    namespace: 'shop', postgres: 'postgres://host/database', redis: undefined, entities: { city },
  })
  const written: WriteResult<number> = await cache.city.write(42, (tx) =>
    tx<City>('cities').where({ id: 42 }).update({ name: 'Paris' }))
  // @ts-expect-error: an id of another type
  void cache.city.get('42')
  // @ts-expect-error: no such entity
  void cache.country
  const found = await cache.city.get(42, { ticket: written.ticket })
  await cache.close()
  return found?.name
}
`
  const entries = Object.keys(entryPoints)
    .map((name, index) => `export * as entry${index} from '${name}'\n`)
    .join('')
  const common = { target: 'es2022', lib: ['es2022'], types: ['node'], strict: true }

  async function compile(name: string, compilerOptions: object, files: string[]): Promise<string> {
    for (const file of files) write(file, /^entries/.test(file) ? entries : text)
    const config = `tsconfig.${name}.json`
    write(config, JSON.stringify({ compilerOptions: { ...common, ...compilerOptions }, files }))
    return run(process.execPath, [tsc, '-p', config], { cwd: project }).then(
      () => 'compiled',
      ({ stdout }: { stdout: string }) => stdout,
    )
  }

  test('nodenext, from ESM and CommonJS, with every declaration checked', async () => {
    const options = { module: 'nodenext', skipLibCheck: false, noEmit: true }
    expect(await compile('nodenext', options, ['user.mts', 'user.cts', 'entries.mts'])).toBe(
      'compiled',
    )
  }, 120_000)

  test('for a bundler', async () => {
    const options = { module: 'esnext', moduleResolution: 'bundler', skipLibCheck: true }
    expect(await compile('bundler', { ...options, noEmit: true }, ['user.ts', 'entries.ts'])).toBe(
      'compiled',
    )
  }, 120_000)

  test('to CommonJS, with the resolution that knows no `exports`', async () => {
    const options = { module: 'commonjs', moduleResolution: 'node10', skipLibCheck: true }
    expect(await compile('commonjs', { ...options, outDir: 'out' }, ['user.cts'])).toBe('compiled')
    const out = `console.log(typeof require('./out/user.cjs').use)`
    expect(await node('compiled.cjs', out)).toBe('function\n')
  }, 120_000)
})
