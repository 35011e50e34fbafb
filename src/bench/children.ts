/** Processes of the bench's own: each answers what it is asked, and none of them outlives the bench. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { messageOf } from '../model/errors.ts'
import { abortable, type Deferred, deferred } from '../resilience/deadline.ts'

const answerDeadlineMs = 60_000

/** What a child says: an answer to what it was asked, or a word in between. */
type FromChild<Answer, Word> =
  | { readonly kind: 'answer'; readonly answer: Answer }
  | { readonly kind: 'word'; readonly word: Word }
  | { readonly kind: 'failed'; readonly message: string }

export class Child<Question extends object, Answer, Word = never> {
  readonly #child: ChildProcess
  readonly #exited: Promise<unknown>
  readonly #signal: AbortSignal
  #answer: Deferred<Answer> = deferred()

  /** `hear`: what it says without being asked. Who makes it ends it. */
  constructor(
    file: URL,
    signal: AbortSignal,
    { execArgv = [], hear }: { execArgv?: readonly string[]; hear?: (word: Word) => void } = {},
  ) {
    this.#signal = signal
    // stdout of the bench holds rows and nothing else.
    this.#child = fork(file, [], {
      execArgv: [...execArgv],
      serialization: 'advanced',
      stdio: ['ignore', 2, 2, 'ipc'],
    })
    this.#exited = once(this.#child, 'exit').catch(() => {})
    const fail = (why: string): void => this.#answer.reject(new Error(`a process ${why}`))
    this.#child.on('message', (message: FromChild<Answer, Word>) => {
      switch (message.kind) {
        case 'answer':
          return this.#answer.resolve(message.answer)
        case 'word':
          return hear?.(message.word)
        case 'failed':
          return fail(`failed: ${message.message}`)
        default:
          message satisfies never
      }
    })
    this.#child.on('error', (error) => fail(`could not be run: ${error.message}`))
    this.#child.on('exit', (code, by) => fail(`ended with ${by ?? `exit code ${code}`}`))
  }

  /** One question at a time. Rejects when the process fails, dies or hangs, or the signal aborts. */
  async ask(question: Question): Promise<Answer> {
    const answer = deferred<Answer>()
    this.#answer = answer
    if (!this.#child.connected) answer.reject(new Error('a process has gone'))
    else this.#child.send(question, () => {})
    const late = AbortSignal.timeout(answerDeadlineMs)
    return abortable(answer.promise, AbortSignal.any([late, this.#signal]))
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exited
  }
}

/** The other end: answers each question, until whoever asks has gone. */
export function answerQuestions<Question, Answer, Word>(
  answer: (question: Question, say: (word: Word) => void) => Promise<Answer>,
): void {
  const tell = (message: FromChild<Answer, Word>): void => {
    if (process.connected) process.send?.(message)
  }
  process.on('message', (question: Question) => {
    answer(question, (word) => tell({ kind: 'word', word })).then(
      (found) => tell({ kind: 'answer', answer: found }),
      (error: unknown) => tell({ kind: 'failed', message: messageOf(error) }),
    )
  })
  // Ctrl-C reaches the whole process group, but only the bench decides when this one ends.
  process.on('SIGINT', () => {})
  process.on('disconnect', () => process.exit())
}
