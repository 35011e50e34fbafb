/** The port with some methods replaced; the others stay those of the port itself. */
export function over<Port extends object>(port: Port, replaced: Partial<Port>): Port {
  return new Proxy(port, {
    get: (target, name) => {
      if (name in replaced) return replaced[name as keyof Port]
      const own = target[name as keyof Port]
      return typeof own === 'function' ? own.bind(target) : own
    },
  })
}
