/** The parts of a run put together: as numbers, and as words. */

/** The document of `--json`. */
export function summaryOf({ simulated, mutants, real, seed }) {
  const { writes, reads, kills, faults, found, maxStaleMs, boundMs } = real
  return {
    simulated: {
      schedules: simulated.schedules,
      writes: simulated.writes,
      violations: simulated.violations.length,
    },
    real: { writes, reads, kills, faults, violations: found, maxStaleMs, boundMs },
    mutants: { caught: mutants.caught, total: mutants.total, missed: mutants.missed },
    seed,
    bound: {
      schedules: boundOf(simulated.schedules, simulated.violations.length),
      writes: boundOf(simulated.writes, simulated.violations.length),
      realWrites: boundOf(writes, found),
    },
  }
}

/**
 * The rule of three: where none of n went wrong, fewer than 3/n do, with a confidence of 95 %. In
 * nines: 0.001 are 3. Where one did, nothing follows: `null`.
 */
function boundOf(count, violations) {
  if (violations > 0 || count === 0) return null
  const atMost = Math.min(1, 3 / count)
  return {
    atMost: Number(atMost.toPrecision(3)),
    nines: Math.floor(Math.log10(1 / atMost) * 10) / 10,
  }
}

export function isRight({ simulated, real, mutants }) {
  const isGraded = mutants.total > 0 && mutants.caught === mutants.total
  return simulated.violations + real.violations === 0 && isGraded && mutants.missed.length === 0
}

export function reportOf(summary) {
  const { simulated, real, mutants, seed, bound } = summary
  const lines = [
    [
      'simulated',
      `${whole(simulated.schedules)} schedules with ${whole(simulated.writes)} writes: ${violations(simulated.violations)}`,
    ],
    ['mutants', `${mutants.caught} of ${mutants.total} caught${missed(mutants.missed)}`],
    [
      'real',
      `${whole(real.writes)} writes and ${whole(real.reads)} reads, ${whole(real.kills)} kills: ${violations(real.violations)}`,
    ],
    ['faults', `${real.faults.length} kinds: ${real.faults.join(', ')}`],
    [
      'stalest',
      `an answer of L1, or a proven one, missed a write by ${real.maxStaleMs} ms; the bound is ${real.boundMs} ms`,
    ],
    [
      'which bounds',
      `errors in ${nines(bound.schedules, 'schedules')}, ${nines(bound.writes, 'simulated writes')}, ${nines(bound.realWrites, 'real writes')} (95 %, rule of three)`,
    ],
    ['seed', String(seed)],
  ]
  return lines.map(([name, text]) => `${name.padEnd(14)}${text}`).join('\n')
}

export function verdictText({ writes, reads, found, violations: some, maxStaleMs, boundMs }) {
  const all = `${whole(writes)} writes and ${whole(reads)} reads: ${violations(found)}`
  const stale = `An answer of L1, or a proven one, missed a write by ${maxStaleMs} ms at most; the bound is ${boundMs} ms.`
  const more = found > some.length ? [`These are the first ${some.length}.`] : []
  return [...some.map(({ text }) => `${text}\n`), ...more, all, stale].join('\n')
}

function violations(count) {
  return count === 1 ? '1 violation' : `${whole(count)} violations`
}

function missed(names) {
  return names.length > 0 ? `; missed: ${names.join(', ')}` : ''
}

function nines(bound, what) {
  return bound
    ? `fewer than ${bound.atMost} of ${what} (${bound.nines} nines)`
    : `nothing known of ${what}`
}

function whole(count) {
  return count.toLocaleString('en-US')
}
