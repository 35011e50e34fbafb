import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { checkInfo, refusalOf, withoutCommand } from '../../../src/redis/refusal.ts'
import { isRedisAnswer } from '../../../src/redis/retryable.ts'

function reply(message: string): Error {
  return Object.assign(new Error(message), { name: 'ReplyError' })
}

test('what is refused is found behind the news that no node would do', () => {
  const none = Object.assign(new Error('Failed to refresh slots cache.'), {
    lastNodeError: reply('WRONGPASS invalid username-password pair or user is disabled.'),
  })
  expect(refusalOf(none)).toMatchObject({ code: 'REDIS_REFUSED' })
  expect(refusalOf(none)?.message).toContain('WRONGPASS')
  expect(refusalOf(reply('LOADING Redis is loading the dataset in memory'))).toBeUndefined()
  expect(refusalOf(new Error('connect ECONNREFUSED 127.0.0.1:1'))).toBeUndefined()
  expect(refusalOf(undefined)).toBeUndefined()
})

test('a server has to be new enough, and of the kind that was asked for', () => {
  const info = (version: string, mode: string): string =>
    `# Server\r\nredis_version:${version}\r\nredis_mode:${mode}\r\n`
  expect(() => checkInfo(info('7.0.0', 'standalone'), false)).not.toThrow()
  expect(() => checkInfo(info('7.0.0', 'cluster'), true)).not.toThrow()
  expect(() => checkInfo(info('6.2.14', 'cluster'), true)).toThrow(/6\.2\.14/)
  expect(() => checkInfo(info('7.0.0', 'cluster'), false)).toThrow(/cluster/)
})

test('what was sent is not told, however deep it lies; what was said is', () => {
  const command = { name: 'auth', args: ['hunter2'] }
  const denied = Object.assign(reply('WRONGPASS invalid'), { command })
  const renamed = Object.assign(
    reply("ERR unknown command 'AUTH', with args beginning with: 'hunter2' "),
    { command },
  )
  const none = Object.assign(new Error('None of the nodes'), { lastNodeError: denied })
  const all = [denied, renamed, none].flatMap((one) => [withoutCommand(one), refusalOf(one)])
  expect(inspect(all, { depth: 10 })).not.toContain('hunter2')
  expect(all[0]).toMatchObject({ name: 'ReplyError', message: 'WRONGPASS invalid' })
  expect(all[2]).toMatchObject({ message: "ERR unknown command 'AUTH'" })
  expect(all[4]).toMatchObject({ cause: { message: 'WRONGPASS invalid' } })
  expect(isRedisAnswer(all[0])).toBe(true)
  const other = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
  expect(withoutCommand(other)).toBe(other)
})
