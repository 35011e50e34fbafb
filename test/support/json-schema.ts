/** As much of JSON Schema as docs/events.schema.json uses; throws for a word that it doesn't know. */
type Schema = Readonly<Record<string, unknown>>

const checks: Readonly<Record<string, (value: unknown, wanted: never) => boolean>> = {
  type: (value, wanted: string) => isOfType(value, wanted),
  const: (value, wanted: unknown) => value === wanted,
  required: (value, wanted: readonly string[]) =>
    !isOfType(value, 'object') || wanted.every((name) => Object.hasOwn(value as object, name)),
  properties: (value, wanted: Readonly<Record<string, Schema>>) =>
    !isOfType(value, 'object') ||
    Object.entries(value as object).every(
      ([name, one]) => !Object.hasOwn(wanted, name) || accepts(wanted[name] as Schema, one),
    ),
  items: (value, wanted: Schema) =>
    !Array.isArray(value) || value.every((one) => accepts(wanted, one)),
  anyOf: (value, wanted: readonly Schema[]) => wanted.some((one) => accepts(one, value)),
  minItems: (value, wanted: number) => !Array.isArray(value) || value.length >= wanted,
  maxItems: (value, wanted: number) => !Array.isArray(value) || value.length <= wanted,
  minLength: (value, wanted: number) => typeof value !== 'string' || [...value].length >= wanted,
  maxLength: (value, wanted: number) => typeof value !== 'string' || [...value].length <= wanted,
  pattern: (value, wanted: string) =>
    typeof value !== 'string' || new RegExp(wanted, 'u').test(value),
  minimum: (value, wanted: number) => typeof value !== 'number' || value >= wanted,
  maximum: (value, wanted: number) => typeof value !== 'number' || value <= wanted,
  additionalProperties: (_, wanted: unknown) => wanted === true,
}
const words = new Set(['$schema', 'title', 'description'])

export function accepts(schema: Schema, value: unknown): boolean {
  return Object.entries(schema).every(([word, wanted]) => {
    if (words.has(word)) return true
    const check = checks[word]
    if (!check) throw new Error(`the word ${word} is not known here`)
    return check(value, wanted as never)
  })
}

function isOfType(value: unknown, type: string): boolean {
  if (type === 'array') return Array.isArray(value)
  if (type === 'integer') return Number.isInteger(value)
  if (type === 'object') return value !== null && typeof value === 'object' && !Array.isArray(value)
  return typeof value === type
}
