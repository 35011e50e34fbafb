import { chownSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  folderWith,
  freePort,
  ownFolder,
  pathFolders,
  ServerProcess,
  unprivilegedUser,
} from './servers.ts'

/**
 * A PgBouncer of this test's own in front of a database, in transaction mode: each transaction may
 * run on another of its two server connections. The URL through it.
 */
export async function startPgBouncer(databaseUrl: string): Promise<string> {
  const folders = [...pathFolders(), '/usr/sbin', '/opt/homebrew/bin']
  const command = join(folderWith(['pgbouncer'], folders), 'pgbouncer')
  const folder = ownFolder('lockstep-pgbouncer-')
  const user = unprivilegedUser()
  const port = await freePort()
  const { hostname, port: serverPort, pathname, username, password } = new URL(databaseUrl)
  const name = pathname.slice(1)
  const login = `user=${username}${password ? ` password=${decodeURIComponent(password)}` : ''}`
  const settings = join(folder, 'pgbouncer.ini')
  writeFileSync(
    settings,
    `[databases]
${name} = host=${hostname} port=${serverPort || 5432} dbname=${name} ${login}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
max_client_conn = 200
`,
  )
  if (user) for (const path of [folder, settings]) chownSync(path, user.uid, user.gid)
  const server = new ServerProcess({
    command,
    args: [settings],
    cwd: folder,
    user,
    ready: 'process up',
  })
  await server.start()
  return `postgres://${username}@127.0.0.1:${port}/${name}`
}
