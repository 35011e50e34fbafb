// The tables of docs/configuration.md: options and their meaning from the docstrings in src,
// settings of the environment from .env.example.

import ts from 'typescript'
import { table, withTable } from './tables.mjs'

const HEAD = ['option', 'type', 'meaning']

const SOURCES = {
  LockstepOptions: 'src/types.ts',
  Timing: 'src/model/defaults.ts',
  HopOptions: 'src/resilience/hop-settings.ts',
  PrometheusPlace: 'src/prometheus/options.ts',
  EntityOptions: 'src/model/entity.ts',
  ReadOptions: 'src/types.ts',
  WarmOptions: 'src/types.ts',
  WriteOptions: 'src/types.ts',
  JoinedWriteOptions: 'src/types.ts',
}

/** `read`: the text of a file of this project. */
export function configurationPage(page, read, timingDefaults) {
  let filled = withTable(page, 'environment', environmentTable(read('.env.example')))
  for (const [name, source] of Object.entries(SOURCES)) {
    const defaults = name === 'Timing' ? timingDefaults : {}
    filled = withTable(filled, name, optionsTable(read(source), name, defaults))
  }
  return filled
}

/** `defaults`: of the options whose docstring leaves that to a table. */
function optionsTable(source, name, defaults = {}) {
  const file = ts.createSourceFile('source.ts', source, ts.ScriptTarget.Latest, true)
  const found = file.statements.find(
    (one) => ts.isInterfaceDeclaration(one) && one.name.text === name,
  )
  if (!found) throw new Error(`there is no interface ${name}`)
  const options = found.members.filter(({ type }) => type?.getText() !== 'undefined')
  const rows = options.map((member) => {
    const option = member.name.text
    const type = ts.isMethodSignature(member) ? 'function' : oneLine(member.type.getText())
    const meaning = docOf(member)
    if (!meaning) throw new Error(`option ${option} of ${name} has no docstring`)
    const standard = defaults[option] === undefined ? '' : ` Default: ${defaults[option]}.`
    const name_ = member.questionToken ? `\`${option}\`` : `\`${option}\` (required)`
    return [name_, `\`${type}\``, meaning + standard]
  })
  return table(HEAD, rows)
}

function environmentTable(example) {
  const rows = []
  let comment = []
  for (const line of example.split('\n')) {
    const setting = /^#([A-Z0-9_]+)=(.*)$/.exec(line)
    if (setting) {
      rows.push([`\`${setting[1]}\``, `\`${setting[2]}\``, comment.join(' ') || 'As above.'])
      comment = []
    } else if (line.startsWith('# ')) comment.push(line.slice(2))
    else comment = []
  }
  return table(['variable', 'example', 'meaning'], rows)
}

function docOf(member) {
  const [doc] = ts.getJSDocCommentsAndTags(member)
  return oneLine(ts.getTextOfJSDocComment(doc?.comment) ?? '')
}

function oneLine(text) {
  return text.replace(/\s+/g, ' ').trim()
}
