import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { readJson, SetupError, writeJson } from './checkout.mjs'

export function buildIfNeeded(checkout, say) {
  const stamp = readJson(stampFile(checkout))
  if (existsSync(join(checkout.root, 'dist')) && stamp?.sources === hashOfSources(checkout)) return
  say('Building dist')
  build(checkout)
}

/** Compiles src into dist. Until all of it is there, dist stays as it was. */
export function build(checkout) {
  const { root, state } = checkout
  const sources = hashOfSources(checkout)
  const draft = join(state, `dist-${process.pid}`)
  const old = join(state, `dist-old-${process.pid}`)
  try {
    compile(root, draft)
    copyScripts(join(root, 'src'), draft)
    pointMapsAtSources(draft)
    pointDeclarationsAtScripts(draft)
    if (existsSync(join(root, 'dist'))) renameSync(join(root, 'dist'), old)
    renameSync(draft, join(root, 'dist'))
  } finally {
    rmSync(draft, { recursive: true, force: true })
    rmSync(old, { recursive: true, force: true })
  }
  writeJson(stampFile(checkout), { sources })
}

function compile(root, draft) {
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  if (!existsSync(tsc)) throw new SetupError('No TypeScript in node_modules: run npm ci first.')
  const args = [tsc, '-p', join(root, 'tsconfig.build.json'), '--outDir', draft]
  const { status } = spawnSync(process.execPath, args, { stdio: 'inherit', cwd: root })
  if (status !== 0) throw new SetupError('The build failed: dist is left as it was.')
}

function copyScripts(from, to) {
  for (const file of filesOf(from).filter((name) => name.endsWith('.lua'))) {
    mkdirSync(dirname(join(to, file)), { recursive: true })
    cpSync(join(from, file), join(to, file))
  }
}

// The compiler writes them for the draft, which lies one folder deeper than dist.
function pointMapsAtSources(draft) {
  for (const file of filesOf(draft).filter((name) => name.endsWith('.map'))) {
    const map = JSON.parse(readFileSync(join(draft, file), 'utf8'))
    map.sources = map.sources.map((source) => source.replace(/^\.\.\//, ''))
    writeFileSync(join(draft, file), JSON.stringify(map))
  }
}

// The compiler rewrites `./x.ts` in what runs and leaves it in the declarations, where not every tool
// that reads types takes it. As many characters, so the maps still fit.
function pointDeclarationsAtScripts(draft) {
  for (const file of filesOf(draft).filter((name) => name.endsWith('.d.ts'))) {
    const text = readFileSync(join(draft, file), 'utf8')
    writeFileSync(join(draft, file), text.replace(/((?:from |import\()'\.[^']*)\.ts'/g, "$1.js'"))
  }
}

function hashOfSources({ root }) {
  const sources = filesOf(join(root, 'src')).map((file) => join('src', file))
  const hash = createHash('sha256')
  for (const file of [...sources, 'tsconfig.json', 'tsconfig.build.json', 'package-lock.json']) {
    hash
      .update(`${file}\0`)
      .update(readFileSync(join(root, file)))
      .update('\0')
  }
  return hash.digest('hex')
}

function filesOf(folder) {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort()
}

function stampFile({ state }) {
  return join(state, 'build.json')
}
