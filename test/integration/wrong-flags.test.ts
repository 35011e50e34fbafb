/** `lockstep flags` used wrongly, and used by two at once. */
import { expect, test } from 'vitest'
import { cli } from '../support/cli.ts'
import { openWorld, until } from '../support/world.ts'

const given = ['--for', '10m', '--reason', 'a test']
const set = (...args: readonly string[]) => ['set', 'l2.bypass', ...args]
const nobody = '00000000-0000-4000-8000-000000000000'
const ran = (args: readonly string[]) => cli(['flags', ...args]).ended

test('an unknown flag, scope or duration: exit code 2, one code, and the option by its name', async () => {
  const world = await openWorld()
  const cache = await world.open()
  const { instance } = cache.health()
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [['unset', 'l2'], /"flag" is "l2"; one of/],
    [set('--reason', 'x', '--for', '8d'), /"for" is "8d"; .* at most 7 days/],
    [set('--reason', 'x', '--for=-1m'), /"for" is "-1m"/],
    [set(...given, '--entity', 'itme'), /"entity" is "itme"; one of item would do/],
    [set(...given, '--instance', nobody), /"instance" is ".*`lockstep flags list`/],
    [['ladder', '1', ...given, '--entity', 'itme'], /"entity" is "itme"/],
    [['ladder', 'up', ...given], /"step" is "up"; 0 to 5 would do/],
  ]
  const runs = wrong.map(async ([args, message]) => {
    return { args, message, answer: await ran([...args, '--json']) }
  })
  for (const { args, message, answer } of await Promise.all(runs)) {
    expect({ args, code: answer.code }).toEqual({ args, code: 2 })
    expect(JSON.parse(answer.stdout)).toEqual({
      error: { code: 'OPTION_INVALID', message: expect.stringMatching(message) },
    })
    expect(answer.stderr).toMatch(message)
  }
  expect(await cache.flags.list()).toEqual([])
  expect((await ran(set(...given, '--entity', 'item', '--instance', instance))).code).toBe(0)
  // What nobody has any more can be unset all the same.
  expect((await ran(['unset', 'l2.bypass', '--entity', 'itme'])).code).toBe(0)
})

test('two processes set one flag at once: both end well, the last one stands everywhere, the history has both', async () => {
  const world = await openWorld()
  const caches = [await world.open(), await world.open()]
  const ends = await Promise.all(
    ['anna', 'ben'].map((author) => ran([...set(...given), '--author', author])),
  )
  expect(ends.map(({ code }) => code)).toEqual([0, 0])
  for (const cache of caches) {
    const history = await cache.flags.history()
    expect(history.map(({ kind, author }) => `${kind} ${author}`).sort()).toEqual([
      'set anna',
      'set ben',
    ])
    await until('the last one stands', () => cache.health().flags[0]?.author === history[0]?.author)
    expect(cache.health().flags).toHaveLength(1)
    expect(await cache.flags.list()).toMatchObject([{ author: history[0]?.author }])
  }
})
