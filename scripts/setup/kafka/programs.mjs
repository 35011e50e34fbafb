// Where Kafka's jars are and which java runs them. Kafka's own start scripts are not used: they
// take a heap of a gigabyte and load every class anew.

import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { readText } from '../checkout.mjs'
import { installDebianPackage } from '../debian.mjs'
import { folderWith, pathFolders } from '../server.mjs'

const OLDEST_JAVA = 17
const FETCH_TIMEOUT_MS = 300_000
const POM = fileURLToPath(new URL('pom.xml', import.meta.url))

/**
 * An installed Kafka: `{ java, jars, how, options, archives }`, the last a folder for archives of
 * its classes; throws where there is none.
 */
export function installedKafka(checkout, { settings }) {
  const home = homes(settings).find((folder) => hasKafka(join(folder, 'libs')))
  if (!home) throw new Error('no KAFKA_HOME is set, and no kafka-server-start.sh is on the PATH')
  return {
    java: findJava(settings),
    jars: jarsIn(join(home, 'libs')),
    how: `installed (${home})`,
    options: logOf(home),
    archives: checkout.state,
  }
}

/** Kafka's jars in the clone's own folder, which Maven fetches when they are not there yet. */
export function fetchedKafka(checkout, { settings, say }) {
  const folder = join(checkout.state, 'kafka-jars')
  if (!isFetched(folder)) fetchJars(folder, settings, say)
  return {
    java: findJava(settings),
    jars: jarsIn(folder),
    how: 'Maven package kafka_2.13',
    options: ['-Dorg.slf4j.simpleLogger.defaultLogLevel=warn'],
    archives: folder,
  }
}

function homes(settings) {
  const scripts = pathFolders(settings).flatMap((folder) =>
    ['kafka-server-start.sh', 'kafka-server-start'].map((name) => join(folder, name)),
  )
  const installed = scripts
    .filter((script) => existsSync(script))
    .map((script) => dirname(dirname(realpathSync(script))))
  // Homebrew keeps what it installs one folder down.
  const withInner = installed.flatMap((folder) => [folder, join(folder, 'libexec')])
  return settings.KAFKA_HOME ? [settings.KAFKA_HOME, ...withInner] : withInner
}

function hasKafka(folder) {
  return existsSync(folder) && readdirSync(folder).some((name) => /^kafka_2\..*\.jar$/.test(name))
}

// In a fixed order: an archive of loaded classes is good for one class path only.
function jarsIn(link) {
  const folder = realpathSync(link)
  const names = readdirSync(folder).filter((name) => name.endsWith('.jar'))
  return names.sort().map((name) => join(folder, name))
}

// The setup of Kafka's own tools: warnings, and to stderr.
function logOf(home) {
  const configured = [
    ['-Dlog4j2.configurationFile=', 'tools-log4j2.yaml'],
    ['-Dlog4j.configuration=file:', 'tools-log4j.properties'],
  ]
  return configured
    .map(([option, name]) => [option, join(home, 'config', name)])
    .filter(([, file]) => existsSync(file))
    .map(([option, file]) => option + file)
}

function isFetched(folder) {
  return readText(join(folder, 'pom.xml')) === readFileSync(POM, 'utf8')
}

// Tests that find no jars fetch them too, side by side: each into a folder of its own, and the
// first that has all of them gives them their place.
function fetchJars(folder, settings, say) {
  const maven = findMaven(settings, say)
  findJava(settings)
  say('Fetching Apache Kafka with Maven')
  const draft = `${folder}-${process.pid}`
  mkdirSync(draft, { recursive: true })
  try {
    const goal = ['dependency:copy-dependencies', '-DincludeScope=runtime']
    const args = ['--batch-mode', '--quiet', '--file', POM, ...goal, `-DoutputDirectory=${draft}`]
    const run = spawnSync(maven, args, {
      env: settings,
      encoding: 'utf8',
      timeout: FETCH_TIMEOUT_MS,
    })
    if (run.status !== 0) throw new Error(`mvn could not fetch Kafka: ${firstErrorOf(run)}`)
    copyFileSync(POM, join(draft, 'pom.xml'))
    if (isFetched(folder)) return
    rmSync(folder, { recursive: true, force: true })
    renameSync(draft, folder)
  } catch (error) {
    if (!isFetched(folder)) throw error
  } finally {
    rmSync(draft, { recursive: true, force: true })
  }
}

function findMaven(settings, say) {
  const find = () => folderWith(['mvn'], [...pathFolders(settings), '/usr/bin'])
  if (!find()) tryInstalling('maven', settings, say)
  const folder = find()
  if (folder) return join(folder, 'mvn')
  throw new Error('no mvn on the PATH')
}

function tryInstalling(name, settings, say) {
  try {
    installDebianPackage(name, settings, say)
  } catch (error) {
    throw new Error(`no mvn on the PATH; ${error.message}`)
  }
}

function findJava(settings) {
  const homes = settings.JAVA_HOME ? [join(settings.JAVA_HOME, 'bin')] : []
  const brewed = ['/opt/homebrew/opt/openjdk/bin', '/usr/local/opt/openjdk/bin']
  const folder = folderWith(['java'], [...homes, ...pathFolders(settings), '/usr/bin', ...brewed])
  if (!folder) throw new Error('no java in JAVA_HOME or on the PATH')
  const java = join(folder, 'java')
  const { stderr, error } = spawnSync(java, ['-version'], { encoding: 'utf8', timeout: 20_000 })
  const major = Number(/version "(?:1\.)?(\d+)/.exec(stderr ?? '')?.[1])
  if (major >= OLDEST_JAVA) return java
  const found = major ? `is Java ${major}` : `does not run (${error?.message ?? 'no version'})`
  throw new Error(`${java} ${found}; Kafka needs Java ${OLDEST_JAVA} or newer`)
}

function firstErrorOf({ stdout, stderr, error }) {
  const lines = `${stdout ?? ''}\n${stderr ?? ''}`.split('\n')
  return error?.message ?? lines.find((line) => line.includes('ERROR')) ?? lines.join(' ').trim()
}
