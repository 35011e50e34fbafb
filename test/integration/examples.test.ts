/** The examples of other people's transactions run: what commits is heard of by another cache, what doesn't is not. */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { connect, ownDatabase } from '../support/database.ts'
import { outputOf } from '../support/example.ts'
import { ownNamespace } from '../support/namespace.ts'

const root = new URL('../../', import.meta.url)
const read = (file: string): string => readFileSync(fileURLToPath(new URL(file, root)), 'utf8')

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>
  readonly devDependencies: Readonly<Record<string, string>>
}
const manifestOf = (folder: string): Manifest =>
  JSON.parse(read(`${folder}package.json`)) as Manifest

const examples = ['drizzle', 'knex', 'kysely', 'pg']
/** The one brings its page's test, the packages of the other take 300 MB. */
const elsewhere = ['repository', 'prisma']

/** The last block of an example's README is what it prints. */
const promisedBy = (name: string): string =>
  read(`examples/${name}/README.md`).split('```').at(-2)?.trim() as string
const withoutTimes = (text: string): string => text.replace(/\d+ ms/, '… ms')

test('every example is run', () => {
  const folders = readdirSync(new URL('examples/', root), { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name)
  expect(folders.sort()).toEqual([...examples, ...elsewhere].sort())
})

describe.each(examples)('%s', (name) => {
  test('it prints what its README says', async () => {
    const databaseUrl = await ownDatabase()
    const code = read(`examples/${name}/main.ts`).replace(`'example-${name}'`, "'shop'")
    const printed = await outputOf(code, { databaseUrl, namespace: ownNamespace() })
    expect(withoutTimes(printed.trim())).toBe(withoutTimes(promisedBy(name)))
    expect(printed).toContain("{ id: 42, name: 'Lutetia' }")
    expect(printed).toContain('Paris')
    const client = await connect(databaseUrl)
    const { rows } = await client.query('select entity, ids from lockstep.outbox')
    expect(rows, 'the row of what was rolled back is gone').toEqual([
      { entity: 'city', ids: ['42'] },
    ])
    const { rows: left } = await client.query(`select to_regclass('example_cities') as table`)
    expect(left, 'it takes its table away').toEqual([{ table: null }])
  })

  test('it installs what it imports, in the versions that it is run with here', () => {
    const { dependencies, devDependencies } = manifestOf(`examples/${name}/`)
    const ours = manifestOf('')
    const imported = [...read(`examples/${name}/main.ts`).matchAll(/^import .* from '([^']+)'/gm)]
      .map(([, specifier]) => specifier?.split('/')[0] as string)
      .filter((specifier) => !specifier.startsWith('node:'))
    const driver = name === 'knex' ? ['pg'] : []
    expect(Object.keys(dependencies).sort()).toEqual([...new Set([...imported, ...driver])].sort())
    const { lockstep, ...others } = dependencies
    expect(lockstep).toBe('file:../..')
    const { tsx: _, ...types } = devDependencies
    expect({ ...ours.dependencies, ...ours.devDependencies }).toMatchObject({ ...others, ...types })
  })
})
