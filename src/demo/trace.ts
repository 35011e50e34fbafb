/** Access traces: gzip of little-endian uint32, one key per access, in order. */
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { LockstepError, messageOf } from '../model/errors.ts'

const keyBytes = 4
/** 100 million accesses: each process holds the whole trace. */
const mostBytes = 400_000_000

/** The keys of a trace; throws `OPTION_INVALID` for a file that is none. */
export function readTrace(file: string): Uint32Array {
  const bytes = unzipped(file)
  if (bytes.length === 0 || bytes.length % keyBytes !== 0) {
    throw notATrace(file, `it has ${bytes.length} bytes once unzipped`)
  }
  // A DataView and not a Uint32Array over the bytes: those would be read as this machine writes them.
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return Uint32Array.from({ length: bytes.length / keyBytes }, (_, index) =>
    view.getUint32(index * keyBytes, true),
  )
}

function unzipped(file: string): Buffer {
  try {
    return gunzipSync(readFileSync(file), { maxOutputLength: mostBytes })
  } catch (error) {
    throw notATrace(file, messageOf(error))
  }
}

function notATrace(file: string, why: string): LockstepError {
  return new LockstepError(
    'OPTION_INVALID',
    `option "--trace" is ${JSON.stringify(file)}, which is no trace (${why}); a gzip file of little-endian uint32 keys would do`,
  )
}
