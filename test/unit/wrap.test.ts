/** A wrapped repository over a cache in a Map: what goes to which, and what stays as it was. */
import { describe, expect, test } from 'vitest'
import type { Tx } from '../../src/postgres/pool.ts'
import type { EntityCache } from '../../src/types.ts'
import { wrapRepository } from '../../src/wrap.ts'
import type { Written } from '../../src/wrap-types.ts'

interface City {
  readonly id: number
  readonly name: string
}

/** The truth, and a cache that keeps what it read until it is told. */
class Place {
  readonly rows = new Map<number, City>([
    [1, { id: 1, name: 'Ulm' }],
    [2, { id: 2, name: 'Bonn' }],
  ])
  readonly cached = new Map<number, City>()
  readonly invalidated: number[] = []
  readonly optionsSeen: unknown[] = []
  isDown = false
  #writes = 0

  handle(): EntityCache<'city', number, City> {
    const get = async (id: number, options?: unknown): Promise<City | undefined> => {
      this.optionsSeen.push(options)
      const row = this.cached.get(id) ?? this.rows.get(id)
      if (row) this.cached.set(id, row)
      return row
    }
    const key = (id: number) => {
      if (typeof id !== 'number') throw new TypeError(`${String(id)} is no id`)
      return { entity: 'city', id: String(id) } as const
    }
    const invalidate = async (id: number, options?: unknown) => {
      this.optionsSeen.push(options)
      if (this.isDown) throw new Error('the source is down')
      this.cached.delete(Number(key(id).id))
      this.invalidated.push(id)
      return { ticket: `ticket ${++this.#writes}`, fenced: true }
    }
    const write = async (...args: unknown[]) => {
      const id = typeof args[0] === 'function' ? undefined : (args.shift() as number)
      const [run, options] = args as [(tx: Tx) => unknown, unknown]
      const value = await run(this as unknown as Tx)
      const { ticket } = await invalidate(id ?? (value as City).id, options)
      return { ticket, value, fenced: false }
    }
    return {
      get,
      peek: (id) => this.cached.get(id),
      getMany: async (ids, options) => {
        this.optionsSeen.push(options)
        const found = await Promise.all([...ids].map((id) => get(id)))
        return new Map(found.flatMap((row) => (row ? [[row.id, row]] : [])))
      },
      getEntry: async (id) => ({
        value: await get(id),
        tier: 'source',
        state: 'fresh',
        ageMs: 0,
        proven: true,
      }),
      write: write as never,
      invalidate: invalidate as never,
      warm: undefined as never,
      key,
    }
  }
}

class CityRepository {
  label = 'cities'
  readonly #rows: Map<number, City>
  calls: string[] = []
  #closed = false

  constructor(rows: Map<number, City>) {
    this.#rows = rows
  }

  get size(): number {
    return this.#rows.size
  }

  get isClosed(): boolean {
    return this.#closed
  }

  set isClosed(closed: boolean) {
    this.#closed = closed
  }

  async findById(id: number): Promise<City | undefined> {
    this.calls.push(`findById ${id}`)
    return this.#rows.get(id)
  }

  async findWith(id: number, _options: { ticket?: string }): Promise<City | null> {
    return this.#rows.get(id) ?? null
  }

  async findByIds(ids: readonly number[]): Promise<City[]> {
    return ids.flatMap((id) => this.#rows.get(id) ?? [])
  }

  async rename(id: number, name: string): Promise<City> {
    this.calls.push(`rename ${id}`)
    const city = { id, name }
    this.#rows.set(id, city)
    return city
  }

  async create(name: string): Promise<City> {
    return this.rename(this.#rows.size + 1, name)
  }

  async nameOf(id: number): Promise<string | undefined> {
    return (await this.findById(id))?.name
  }

  countSync(): number {
    return this.#rows.size
  }

  self(): this {
    return this
  }

  static of(rows: Map<number, City>): CityRepository {
    return new CityRepository(rows)
  }
}

class LoudRepository extends CityRepository {
  override async findById(id: number): Promise<City | undefined> {
    const city = await super.findById(id)
    return city && { ...city, name: city.name.toUpperCase() }
  }

  shout(): string {
    return `${this.label}! ${this.countSync()}`
  }
}

function scene() {
  const place = new Place()
  return { place, handle: place.handle(), repository: new CityRepository(place.rows) }
}

describe('reads', () => {
  test('a named read is answered by the cache, and the method is not called', async () => {
    const { place, handle, repository } = scene()
    const wrapped = wrapRepository(repository, handle, { read: ['findById'] })
    expect(await wrapped.findById(1)).toEqual({ id: 1, name: 'Ulm' })
    place.rows.set(1, { id: 1, name: 'Neu-Ulm' })
    expect(await wrapped.findById(1)).toEqual({ id: 1, name: 'Ulm' })
    expect(await wrapped.findById(9)).toBeUndefined()
    expect(repository.calls).toEqual([])
    expect(await repository.findById(1)).toEqual({ id: 1, name: 'Neu-Ulm' })
  })

  test('the promise of the cache is handed on as it is: a hit costs no other one', () => {
    const { handle, repository } = scene()
    const promise = Promise.resolve({ id: 1, name: 'Ulm' })
    const wrapped = wrapRepository(
      repository,
      { ...handle, get: () => promise },
      { read: ['findById'] },
    )
    expect(wrapped.findById(1)).toBe(promise)
  })

  test('the id and the options come from the arguments, the result from what was found', async () => {
    const { place, handle, repository } = scene()
    const wrapped = wrapRepository(repository, handle, {
      read: {
        findWith: {
          id: (id) => id,
          options: (_id, { ticket }) => (ticket ? { ticket } : undefined),
          result: (found, id) => found ?? (id === 9 ? null : { id, name: 'Nowhere' }),
        },
      },
    })
    expect(await wrapped.findWith(1, { ticket: 't' })).toEqual({ id: 1, name: 'Ulm' })
    expect(await wrapped.findWith(9, {})).toBeNull()
    expect(await wrapped.findWith(8, {})).toEqual({ id: 8, name: 'Nowhere' })
    expect(place.optionsSeen).toEqual([{ ticket: 't' }, undefined, undefined])
  })

  test('many ids are one getMany', async () => {
    const { place, handle, repository } = scene()
    const wrapped = wrapRepository(repository, handle, {
      read: {
        findByIds: {
          ids: (ids) => ids,
          options: () => ({ consistency: 'strong' }),
          result: (found) => [...found.values()],
        },
      },
    })
    expect(await wrapped.findByIds([2, 9, 1])).toEqual([
      { id: 2, name: 'Bonn' },
      { id: 1, name: 'Ulm' },
    ])
    expect(place.optionsSeen[0]).toEqual({ consistency: 'strong' })
  })

  test('what id, options, result and the cache throw rejects', async () => {
    const { handle, repository } = scene()
    const fail = (what: string) => (): never => {
      throw new RangeError(what)
    }
    const readWith = (read: object, door = handle) =>
      wrapRepository(repository, door, { read: { findById: read } } as never).findById(1)
    const id = (given: number): number => given
    await expect(readWith({ id: fail('id') })).rejects.toThrow('id')
    await expect(readWith({ id: fail('id'), result: id })).rejects.toThrow('id')
    await expect(readWith({ id, options: fail('options') })).rejects.toThrow('options')
    await expect(readWith({ id, result: fail('result') })).rejects.toThrow('result')
    await expect(readWith({ id }, { ...handle, get: fail('get') })).rejects.toThrow('get')
  })
})

describe('writes with a run', () => {
  test('run in the transaction of a cache write, in place of the method', async () => {
    const { place, handle, repository } = scene()
    const wrapped = wrapRepository(repository, handle, {
      read: ['findById'],
      write: {
        rename: {
          id: (id) => id,
          run: (tx, id, name) => {
            expect(tx).toBe(place)
            place.rows.set(id, { id, name })
            return { id, name }
          },
          options: (_id, name) => ({ retries: name.length }),
        },
      },
    })
    await wrapped.findById(1)
    expect(await wrapped.rename(1, 'Genf')).toEqual({ id: 1, name: 'Genf' })
    expect(await wrapped.findById(1)).toEqual({ id: 1, name: 'Genf' })
    expect(repository.calls).toEqual([])
    expect(place.invalidated).toEqual([1])
    expect(place.optionsSeen).toContainEqual({ retries: 4 })
  })

  test('without an id the ids are those of the rows', async () => {
    const { place, handle, repository } = scene()
    const wrapped = wrapRepository(repository, handle, {
      write: { create: { run: async (_tx, name) => ({ id: 7, name }) } },
    })
    expect(await wrapped.create('Rom')).toEqual({ id: 7, name: 'Rom' })
    expect(place.invalidated).toEqual([7])
  })

  test('what run throws comes out as it is, and nobody is told of a write', async () => {
    const { place, handle, repository } = scene()
    const written: Written[] = []
    const wrapped = wrapRepository(repository, handle, {
      write: {
        rename: {
          id: (id) => id,
          run: () => {
            throw new RangeError('no such city')
          },
        },
      },
      onWrite: (one) => {
        written.push(one)
      },
    })
    await expect(wrapped.rename(1, 'Genf')).rejects.toThrow(new RangeError('no such city'))
    expect([place.invalidated, written]).toEqual([[], []])
  })
})

describe('writes without a run', () => {
  test('call the method on the repository, then invalidate', async () => {
    const { place, handle, repository } = scene()
    const wrapped = wrapRepository(repository, handle, { read: ['findById'], write: ['rename'] })
    await wrapped.findById(1)
    expect(await wrapped.rename(1, 'Genf')).toEqual({ id: 1, name: 'Genf' })
    expect(await wrapped.findById(1)).toEqual({ id: 1, name: 'Genf' })
    expect(repository.calls).toEqual(['rename 1'])
    expect(place.invalidated).toEqual([1])
  })

  test('keep the row of the invalidation when Redis can’t be told', async () => {
    const { place, handle, repository } = scene()
    await wrapRepository(repository, handle, { write: ['rename'] }).rename(1, 'Genf')
    expect(place.optionsSeen).toEqual([{ onFenceFailure: 'proceed' }])
  })

  test('invalidate also after a method that threw: it may have written', async () => {
    const { place, handle, repository } = scene()
    repository.rename = async (id, name) => {
      place.rows.set(id, { id, name })
      throw new RangeError('the answer was lost')
    }
    const wrapped = wrapRepository(repository, handle, { read: ['findById'], write: ['rename'] })
    await wrapped.findById(1)
    await expect(wrapped.rename(1, 'Genf')).rejects.toThrow(new RangeError('the answer was lost'))
    expect(await wrapped.findById(1)).toEqual({ id: 1, name: 'Genf' })
  })

  test('take what a method does at once: a value, nothing, or an error', async () => {
    const { place, handle } = scene()
    const repository = {
      touch: (_id: number): unknown => undefined,
      fail: (_id: number): unknown => {
        throw new RangeError('at once')
      },
    }
    const wrapped = wrapRepository(repository, handle, { write: ['touch', 'fail'] })
    expect(await wrapped.touch(1)).toBeUndefined()
    await expect(wrapped.fail(2)).rejects.toThrow(new RangeError('at once'))
    expect(place.invalidated).toEqual([1, 2])
  })

  test('an id that won’t do is told before the method is called', async () => {
    const { handle, repository } = scene()
    const wrapped = wrapRepository(repository, handle, { write: ['rename'] })
    await expect(wrapped.rename('1' as never, 'Genf')).rejects.toThrow('1 is no id')
    expect(repository.calls).toEqual([])
  })

  test('tell of an invalidation that failed, as an error that nobody repeats the write for', async () => {
    const { place, handle, repository } = scene()
    const wrapped = wrapRepository(repository, handle, { write: ['rename'] })
    place.isDown = true
    await expect(wrapped.rename(1, 'Genf')).rejects.toMatchObject({
      code: 'WRITE_NOT_INVALIDATED',
      retryable: false,
      message: expect.stringMatching(/^"rename" has written, .*"city".*the source is down/),
      cause: { message: 'the source is down' },
    })
    expect(place.rows.get(1)?.name).toBe('Genf')
  })

  test('tell of both errors when the method failed too', async () => {
    const { place, handle, repository } = scene()
    const lost = new RangeError('the answer was lost')
    repository.rename = () => Promise.reject(lost)
    const wrapped = wrapRepository(repository, handle, { write: ['rename'] })
    place.isDown = true
    await expect(wrapped.rename(1, 'Genf')).rejects.toMatchObject({
      code: 'WRITE_NOT_INVALIDATED',
      message: expect.stringMatching(/^"rename" failed and may have written/),
      cause: { errors: [lost, { message: 'the source is down' }] },
    })
  })
})

describe('the hook', () => {
  test('is told of each write, before its call returns', async () => {
    const { handle, repository } = scene()
    const events: unknown[] = []
    const wrapped = wrapRepository(repository, handle, {
      write: {
        rename: { id: (id) => id },
        create: { run: async (_tx, name) => ({ id: 7, name }) },
      },
      onWrite: async (written) => {
        await new Promise((resolve) => setImmediate(resolve))
        events.push(written)
      },
    })
    await wrapped.rename(1, 'Genf').then(() => events.push('renamed'))
    await wrapped.create('Rom')
    expect(events).toEqual([
      { method: 'rename', ticket: 'ticket 1', fenced: true },
      'renamed',
      { method: 'create', ticket: 'ticket 2', fenced: false },
    ])
  })

  test('what it throws comes out, and the write has been done', async () => {
    const { place, handle, repository } = scene()
    const wrapped = wrapRepository(repository, handle, {
      write: ['rename'],
      onWrite: () => {
        throw new RangeError('no session')
      },
    })
    await expect(wrapped.rename(1, 'Genf')).rejects.toThrow('no session')
    expect([place.rows.get(1)?.name, place.invalidated]).toEqual(['Genf', [1]])
  })
})

describe('what is not named', () => {
  test('is the repository’s own: methods, getters, setters and fields, with private ones', async () => {
    const { handle, repository } = scene()
    const wrapped = wrapRepository(repository, handle, { read: ['findById'] })
    expect([wrapped.size, wrapped.countSync(), wrapped.label]).toEqual([2, 2, 'cities'])
    expect(await wrapped.findByIds([2])).toEqual([{ id: 2, name: 'Bonn' }])
    wrapped.isClosed = true
    expect(repository.isClosed).toBe(true)
    wrapped.label = 'towns'
    expect(repository.label).toBe('towns')
    expect(Object.keys(wrapped)).toEqual(Object.keys(repository))
    expect('label' in wrapped && !('planet' in wrapped)).toBe(true)
    Reflect.deleteProperty(wrapped, 'label')
    expect('label' in repository).toBe(false)
  })

  test('calls on itself what the repository has, not the cache', async () => {
    const { place, handle, repository } = scene()
    const wrapped = wrapRepository(repository, handle, { read: ['findById'], write: ['rename'] })
    expect(await wrapped.nameOf(1)).toBe('Ulm')
    await wrapped.create('Rom')
    expect(repository.calls).toEqual(['findById 1', 'rename 3'])
    expect([place.cached.size, place.invalidated.length]).toEqual([0, 0])
    expect(wrapped.self()).toBe(repository)
  })

  test('stays of its class, and inherits', async () => {
    const { place, handle } = scene()
    const wrapped = wrapRepository(new LoudRepository(place.rows), handle, { read: ['findById'] })
    expect(wrapped).toBeInstanceOf(LoudRepository)
    expect(wrapped).toBeInstanceOf(CityRepository)
    expect(wrapped.constructor).toBe(LoudRepository)
    expect(Object.getPrototypeOf(wrapped)).toBe(LoudRepository.prototype)
    expect(wrapped.shout()).toBe('cities! 2')
    // From the cache, not from the loud one.
    expect((await wrapped.findById(1))?.name).toBe('Ulm')
  })

  test('a method is the same each time, keeps its properties, and goes with another this', () => {
    const { place, handle, repository } = scene()
    const wrapped = wrapRepository(repository, handle, { read: ['findById'] })
    expect(wrapped.countSync).toBe(wrapped.countSync)
    expect(wrapped.countSync.name).toBe('countSync')
    const other = new CityRepository(new Map([...place.rows, [3, { id: 3, name: 'Rom' }]]))
    expect(wrapped.countSync.call(other)).toBe(3)
    const { countSync } = wrapped
    expect(() => countSync()).toThrow(TypeError)
  })

  test('a named method needs no this', async () => {
    const { handle, repository } = scene()
    const { findById, rename } = wrapRepository(repository, handle, {
      read: ['findById'],
      write: ['rename'],
    })
    expect(await findById(1)).toEqual({ id: 1, name: 'Ulm' })
    expect(await rename(1, 'Genf')).toEqual({ id: 1, name: 'Genf' })
  })

  test('classes and functions that it holds can be used as before', () => {
    const { handle, place } = scene()
    const find = async (_id: number): Promise<City | undefined> => undefined
    const repository = { Repository: CityRepository, find }
    const wrapped = wrapRepository(repository, handle, { read: ['find'] })
    expect(new wrapped.Repository(place.rows)).toBeInstanceOf(CityRepository)
    expect(wrapped.Repository.of(place.rows).size).toBe(2)
  })
})

describe('a repository', () => {
  test('may be frozen, without a prototype, and have symbols for names', async () => {
    const { handle } = scene()
    const find = Symbol('find')
    const repository = Object.freeze(
      Object.assign(Object.create(null) as object, {
        [find]: async (_id: number): Promise<City | undefined> => undefined,
        findById: async (_id: number): Promise<City | undefined> => undefined,
        rest: () => 'rest',
      }),
    )
    const wrapped = wrapRepository(repository, handle, { read: [find, 'findById'] })
    expect(await wrapped[find](1)).toEqual({ id: 1, name: 'Ulm' })
    expect(await wrapped.findById(2)).toEqual({ id: 2, name: 'Bonn' })
    expect(wrapped.rest()).toBe('rest')
    const copy = { ...wrapped }
    expect(await copy.findById(1)).toEqual({ id: 1, name: 'Ulm' })
    expect(Object.getOwnPropertyDescriptor(wrapped, 'findById')?.value).toBe(wrapped.findById)
    expect(() => Object.assign(wrapped, { rest: () => '' })).toThrow(TypeError)
  })

  test('may be wrapped for one entity after another', async () => {
    const { place, handle, repository } = scene()
    const other = new Place()
    const read = wrapRepository(repository, handle, { read: ['findById'] })
    const both = wrapRepository(read, other.handle(), { write: ['rename'] })
    await both.rename(1, 'Genf')
    expect((await both.findById(1))?.name).toBe('Genf')
    expect(both.countSync()).toBe(2)
    expect([other.invalidated, place.cached.size]).toEqual([[1], 1])
    expect(both).toBeInstanceOf(CityRepository)
  })

  test('keeps the methods that the cache stands in for', () => {
    const { handle, repository } = scene()
    const wrapped = wrapRepository(repository, handle, { read: ['findById'] })
    const find = async (): Promise<undefined> => undefined
    expect(() => {
      wrapped.findById = find
    }).toThrow(TypeError)
    expect(() => Object.defineProperty(wrapped, 'findById', { value: find })).toThrow(TypeError)
    expect(Reflect.deleteProperty(wrapped, 'findById')).toBe(false)
    expect(() => Object.freeze(wrapped)).toThrow(TypeError)
    Object.defineProperty(wrapped, 'rank', { value: 1, configurable: true })
    expect(Object.getOwnPropertyDescriptor(repository, 'rank')?.value).toBe(1)
    const fixed = { value: 1, configurable: false }
    expect(Reflect.defineProperty(wrapped, 'fixed', fixed)).toBe(false)
    expect(repository).not.toHaveProperty('fixed')
  })
})

describe('what won’t do is told at once', () => {
  const { handle, repository } = scene()
  const id = (given: number): number => given
  const wrongOnes: readonly [string, readonly [unknown, unknown, unknown], RegExp][] = [
    ['no repository', [null, handle, {}], /"repository" is null/],
    ['a repository that is none', ['cities', handle, {}], /"repository" is "cities"/],
    ['a class', [CityRepository, handle, {}], /"repository" is a function/],
    ['no handle', [repository, undefined, {}], /"handle" is undefined; cache\.<entity>/],
    ['a cache', [repository, { city: handle, write: id, invalidate: id }, {}], /"handle" is an/],
    ['no options', [repository, handle, undefined], /"options" is undefined/],
    ['names as the options', [repository, handle, ['findById']], /"options" is an array/],
    ['a slip', [repository, handle, { reads: [] }], /"reads" is an array; one of read, write/],
    ['a hook', [repository, handle, { onWrite: 'log' }], /"onWrite" is "log"; a function/],
    ['one name', [repository, handle, { read: 'findById' }], /"read" is "findById"; an array/],
    ['no names', [repository, handle, { write: [1] }], /"write" is 1; a method/],
    [
      'a missing method',
      [repository, handle, { read: ['findByID'] }],
      /"read\.findByID" is not in the repository/,
    ],
    ['a field', [repository, handle, { write: ['label'] }], /"write\.label" is "cities"; a method/],
    ['a getter', [repository, handle, { read: ['size'] }], /"read\.size" is a getter/],
    [
      'both kinds',
      [repository, handle, { read: ['findById'], write: ['findById'] }],
      /"write\.findById" is named in read too/,
    ],
    [
      'a plan that is none',
      [repository, handle, { read: { findById: true } }],
      /"read\.findById" is true; an object with id, ids, options, result/,
    ],
    [
      'an unknown part',
      [repository, handle, { read: { findById: { id, ttl: 5 } } }],
      /"read\.findById\.ttl" is 5; one of id, ids/,
    ],
    [
      'a part that is no function',
      [repository, handle, { write: { rename: { id, run: 'update' } } }],
      /"write\.rename\.run" is "update"; a function/,
    ],
    ['no id', [repository, handle, { read: { findById: {} } }], /"read\.findById" has no id/],
    [
      'id and ids',
      [repository, handle, { read: { findById: { id, ids: id } } }],
      /"read\.findById" has both id and ids/,
    ],
    ['nothing', [repository, handle, { write: { rename: {} } }], /"write\.rename" has neither id/],
    [
      'options of nothing',
      [repository, handle, { write: { rename: { id, options: id } } }],
      /"write\.rename\.options" goes with a run/,
    ],
  ]

  test.each(wrongOnes)('%s', (_, args, message) => {
    const wrap = () => wrapRepository(...(args as [CityRepository, typeof handle, object]))
    expect(wrap).toThrow(
      expect.objectContaining({ code: 'OPTION_INVALID', message: expect.stringMatching(message) }),
    )
  })

  test('a getter is not run to find out', () => {
    const trap = {
      get findById(): never {
        throw new Error('was run')
      },
    }
    expect(() => wrapRepository(trap, handle, { read: ['findById'] as never[] })).toThrow(
      /is a getter/,
    )
  })
})
