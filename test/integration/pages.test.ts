/** The code of pages that tell a whole story compiles against the front door, as a reader would compile it. */
import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { complaintsAbout } from '../support/example.ts'

const root = new URL('../../', import.meta.url)

const pages = ['README.md', ...readdirSync(fileURLToPath(new URL('docs', root))).map(inDocs)]
  .filter((page) => page.endsWith('.md'))
  .filter((page) => /^import .* from 'lockstep/m.test(readFileSync(new URL(page, root), 'utf8')))

function inDocs(name: string): string {
  return `docs/${name}`
}

test('the code of every page compiles', () => {
  expect(pages.length).toBeGreaterThan(4)
  const complaints = complaintsAbout(pages)
  expect(Object.fromEntries(complaints)).toEqual(
    Object.fromEntries(pages.map((page) => [page, []])),
  )
}, 90_000)
