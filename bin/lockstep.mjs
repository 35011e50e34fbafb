#!/usr/bin/env node
import { existsSync, readFileSync } from 'node:fs'

const main = new URL('../dist/main.js', import.meta.url)
if (!existsSync(main)) {
  console.error('lockstep: dist is missing. Run `npm run build` first.')
  process.exit(2)
}

// In a clone, what setup found stands in for what the environment does not say. The package has no
// such file.
const found = new URL('../.lockstep/services.json', import.meta.url)
if (existsSync(found)) {
  const { postgres, redis, namespace } = JSON.parse(readFileSync(found, 'utf8'))
  process.env.DATABASE_URL ||= postgres.url
  process.env.REDIS_URL ||= redis.url
  process.env.LOCKSTEP_NAMESPACE ||= namespace
}

await import(main.href)
