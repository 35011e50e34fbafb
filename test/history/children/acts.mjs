// A process that does what it is asked: `{ call, act, argument }` comes in, `{ call, value }` or
// `{ call, error }` goes back (test/support/calls.ts). It says `here` when all its code is loaded.
export function serveActs(acts) {
  process.on('message', ({ call, act, argument }) => {
    Promise.resolve()
      .then(() => acts[act](argument))
      .then(
        (value) => process.send({ call, value }),
        (error) => process.send({ call, error: String(error?.stack ?? error) }),
      )
  })
  process.on('disconnect', () => process.exit())
  // Ctrl-C reaches the whole group, and the run ends this process.
  process.on('SIGINT', () => {})
  process.send('here')
}
