/** Logs what it is told to, many times, and says on stdout when it has. */
import { commandLog } from '../../../dist/telemetry/log.js'

const [, , level, lines, text] = process.argv
const log = commandLog('a test', level)
for (let line = 0; line < Number(lines); line++) {
  const err = new Error(text, { cause: Object.assign(new Error(text), { command: { text } }) })
  log.warn({ line, password: text, nested: { url: text }, err }, `at ${text}`)
  log.debug({ line }, 'for who looks closely')
  // Written in between, as it is where there is something to wait for.
  if (line % 100 === 99) await new Promise((resolve) => setImmediate(resolve))
}
process.stdout.write('done\n')
