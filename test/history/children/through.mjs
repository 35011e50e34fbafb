import { connect } from 'node:net'

/** Whatever address the broker gives out, the way there leads through this process' own proxy. */
export function through({ port, ...kafka }) {
  const socketFactory = ({ onConnect }) =>
    connect({ host: '127.0.0.1', port, noDelay: true }, onConnect)
  return { ...kafka, socketFactory }
}
