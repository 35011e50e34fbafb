import { inspect } from 'node:util'

/**
 * A value as text that tells apart all that a codec must keep: -0, types of binary, keys named
 * `__proto__`, invalid dates (which `assert.deepStrictEqual` of Node 20 finds unequal to themselves).
 */
export const everythingIn = (value: unknown): string =>
  inspect(value, { depth: null, maxArrayLength: null, maxStringLength: null, breakLength: 100 })
