/**
 * One error class, told apart by a stable `code`. The table says for each code whether the same
 * call may succeed when it is made again; `docs/errors.md` explains each, and a test holds the two
 * together.
 */
export const errorCodes = {
  OPTION_INVALID: { retryable: false },
  ID_INVALID: { retryable: false },
  TICKET_INVALID: { retryable: false },
  VALUE_NOT_ENCODABLE: { retryable: false },
  LOADER_FAILED: { retryable: false },
  LOADER_INVALID: { retryable: false },
  SOURCE_UNAVAILABLE: { retryable: true },
  SOURCE_TIMEOUT: { retryable: true },
  SOURCE_BUSY: { retryable: true },
  SOURCE_READONLY: { retryable: true },
  SOURCE_UNSUPPORTED: { retryable: false },
  SCHEMA_MISSING: { retryable: false },
  SCHEMA_NEWER: { retryable: false },
  NAMESPACE_TAKEN: { retryable: false },
  REGISTRATION_BLOCKED: { retryable: true },
  REDIS_REFUSED: { retryable: false },
  REDIS_REQUIRED: { retryable: false },
  PLANE_MISMATCH: { retryable: false },
  KAFKA_REFUSED: { retryable: false },
  KAFKA_TOPIC_INVALID: { retryable: false },
  KAFKA_UNAVAILABLE: { retryable: true },
  READ_TIMEOUT: { retryable: true },
  READ_PARTIAL: { retryable: true },
  WRITES_REJECTED: { retryable: true },
  WRITE_TIMEOUT: { retryable: true },
  WRITE_NOT_FENCED: { retryable: true },
  WRITE_ENDED_EARLY: { retryable: false },
  WRITE_ABORTED: { retryable: true },
  WRITE_OUTCOME_UNKNOWN: { retryable: false },
  WRITE_KEYS_MISSING: { retryable: false },
  WRITE_NOT_INVALIDATED: { retryable: false },
  CLOSED: { retryable: false },
} as const satisfies Record<string, { retryable: boolean }>

export type ErrorCode = keyof typeof errorCodes

export class LockstepError extends Error {
  override readonly name = 'LockstepError'
  readonly code: ErrorCode
  /** Whether the same call may succeed when it is made again. */
  readonly retryable: boolean

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
    this.retryable = errorCodes[code].retryable
  }
}

/** What `getMany` rejects with (`READ_PARTIAL`): the values that were found, and why the others were not. */
export class PartialReadError<Id = unknown, Value = unknown> extends LockstepError {
  readonly values: ReadonlyMap<Id, Value>
  readonly failures: ReadonlyMap<Id, unknown>

  constructor(entity: string, values: ReadonlyMap<Id, Value>, failures: ReadonlyMap<Id, unknown>) {
    const [first] = failures.values()
    super(
      'READ_PARTIAL',
      `${failures.size} ids of entity "${entity}" could not be read: ${messageOf(first)}`,
      {
        cause: first,
      },
    )
    this.values = values
    this.failures = failures
  }
}

/** What was thrown, in words; anything can be thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof Error) return error.message
  try {
    return String(error)
  } catch {
    return 'something without a message'
  }
}
