import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ownFolder } from './servers.ts'

/** A certificate of 127.0.0.1 that is its own authority, until the end of the test. */
export function certificate(): { readonly key: Buffer; readonly ca: Buffer } {
  const folder = ownFolder('lockstep-certificate-')
  const [keyFile, caFile] = [join(folder, 'tls.key'), join(folder, 'tls.crt')]
  const key = ['-newkey', 'rsa:2048', '-nodes', '-keyout', keyFile, '-out', caFile]
  const about = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2']
  execFileSync('openssl', ['req', '-x509', ...key, ...about], { stdio: 'ignore' })
  return { key: readFileSync(keyFile), ca: readFileSync(caFile) }
}
