/** @file Dirichlet draws, and splits of labelled data over clients whose label mixes differ. */
import { UsageError } from '../errors.js'
import { Stream } from '../random/index.js'
import { append } from '../tensor/numbers.js'

/** A draw from Gamma(shape, 1), shape > 0. Marsaglia and Tsang 2000; below 1 by their power of a uniform. */
const gamma = (stream: Stream, shape: number): number => {
  if (shape < 1) return gamma(stream, shape + 1) * (1 - stream.uniform()) ** (1 / shape)
  const d = shape - 1 / 3
  const c = 1 / Math.sqrt(9 * d)
  for (;;) {
    const x = stream.normal()
    const v = (1 + c * x) ** 3
    if (v > 0 && Math.log(1 - stream.uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v
  }
}

/** `count` shares that sum to 1, from a symmetric Dirichlet distribution of concentration `alpha` > 0. Throws UsageError for another. */
export const dirichlet = (stream: Stream, count: number, alpha: number): number[] => {
  if (!(alpha > 0)) throw new UsageError('BadConcentration', `alpha is ${alpha}; expected a number above 0`)
  const draws = Array.from({ length: count }, () => gamma(stream, alpha))
  const total = draws.reduce((a, b) => a + b, 0)
  // All draws may underflow for a tiny alpha; the limit is then one share of 1.
  if (total > 0) return draws.map((x) => x / total)
  const whole = stream.int(count)
  return draws.map((_, i) => (i === whole ? 1 : 0))
}

/** An index drawn with the given weights ([count]; not negative, not all zero). */
export const weighted = (stream: Stream, weights: ArrayLike<number>): number => {
  let total = 0
  for (let i = 0; i < weights.length; i++) total += weights[i]
  let rest = stream.uniform() * total
  for (let i = 0; i < weights.length - 1; i++) if ((rest -= weights[i]) < 0) return i
  return weights.length - 1
}

/**
 * Splits examples over `clients`: each class is divided by shares drawn from Dirichlet(alpha), as in Hsu et al. 2019.
 * labels: [examples]. Returns the indices of each client, in random order; each example is in exactly one client, and
 * a client may be empty (a small alpha gives each class to few clients).
 */
export const dirichletSplit = (
  labels: ArrayLike<number | bigint>,
  { clients, alpha, seed }: { clients: number; alpha: number; seed: number | string },
): number[][] => {
  const stream = new Stream(seed).fork('dirichlet split')
  const byClass = new Map<number, number[]>()
  for (let i = 0; i < labels.length; i++) {
    const label = Number(labels[i])
    const members = byClass.get(label)
    if (members) members.push(i)
    else byClass.set(label, [i])
  }
  const split: number[][] = Array.from({ length: clients }, () => [])
  for (const [, members] of [...byClass].sort(([a], [b]) => a - b)) {
    stream.shuffle(members)
    let [from, share] = [0, 0]
    for (const [k, part] of dirichlet(stream, clients, alpha).entries()) {
      share += part
      const to = k === clients - 1 ? members.length : Math.round(share * members.length)
      append(split[k], members.slice(from, to))
      from = Math.max(from, to)
    }
  }
  return split.map((members) => stream.shuffle(members))
}

/** Class counts that fall off geometrically from `head` to head / ratio: head * ratio^(-c / (classes - 1)). */
export const longTail = (classes: number, head: number, ratio: number): number[] =>
  Array.from({ length: classes }, (_, c) => Math.round(head * ratio ** (-c / Math.max(1, classes - 1))))
