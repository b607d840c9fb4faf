/** @file einsum: sums of products of tensors, written with a letter for each axis. */
import { ShapeError, show } from '../shape.js'
import type { Tensor } from '../tensor.js'

/** A tensor and the label of each of its axes, all distinct. */
interface Term {
  readonly x: Tensor
  readonly labels: readonly string[]
}

interface Equation {
  readonly inputs: readonly (readonly string[])[]
  readonly output: readonly string[]
}

/** Labels of the axes that '...' stands for; a label is one letter otherwise. */
const ellipsisLabel = (fromTheRight: number): string => `...${fromTheRight}`

const labelsOf = (term: string, rank: number, fail: (message: string) => never): string[] => {
  const parts = term.split('...')
  if (parts.length > 2 || !parts.every((p) => /^[A-Za-z]*$/.test(p)))
    fail(`'${term}' may hold letters and one ...`)
  const named = parts.join('').length
  if (parts.length === 1) return named === rank ? [...term] : fail(`'${term}' names ${named} axes of ${rank}`)
  if (named > rank) fail(`'${term}' names ${named} axes of ${rank}`)
  const rest = Array.from({ length: rank - named }, (_, i) => ellipsisLabel(rank - named - i))
  return [...parts[0], ...rest, ...parts[1]]
}

const parse = (equation: string, operands: readonly Tensor[], fail: (message: string) => never): Equation => {
  const [left, right, ...more] = equation.replaceAll(/\s/g, '').split('->')
  const terms = left.split(',')
  if (more.length) fail('-> occurs twice')
  if (terms.length !== operands.length) fail(`${terms.length} terms for ${operands.length} tensors`)
  const inputs = terms.map((term, i) => labelsOf(term, operands[i].rank, fail))
  const all = inputs.flat()
  const spread = [...new Set(all.filter((l) => l.length > 1))].sort(
    (a, b) => Number(b.slice(3)) - Number(a.slice(3)),
  )
  if (right === undefined) {
    const once = [...new Set(all)].filter((l) => l.length === 1 && all.indexOf(l) === all.lastIndexOf(l))
    return { inputs, output: [...spread, ...once.sort()] }
  }
  const output = labelsOf(
    right,
    right.replace('...', '').length + (right.includes('...') ? spread.length : 0),
    fail,
  )
  for (const l of output) if (!all.includes(l)) fail(`output axis '${l}' is in no term`)
  if (new Set(output).size !== output.length) fail(`'${right}' repeats an axis`)
  return { inputs, output }
}

/** The length of every label. A length 1 stretches only where '...' broadcasts. */
const lengths = (
  { inputs }: Equation,
  operands: readonly Tensor[],
  fail: (message: string) => never,
): Map<string, number> => {
  const found = new Map<string, number>()
  inputs.forEach((labels, i) =>
    labels.forEach((l, axis) => {
      const here = operands[i].shape[axis]
      const there = found.get(l) ?? operands[i].shape[axis]
      const stretches = l.length > 1 && (here === 1 || there === 1)
      if (here !== there && !stretches) fail(`axis '${l}' is ${there} and ${here}`)
      found.set(l, there === 1 ? here : there)
    }),
  )
  return found
}

/** Of a label that occurs twice, the diagonal. */
const diagonal = ({ x, labels }: Term): Term => {
  const second = labels.findIndex((l, i) => labels.indexOf(l) < i)
  if (second < 0) return { x, labels }
  const pair = [labels.indexOf(labels[second]), second]
  const order = [...labels.keys()].filter((i) => !pair.includes(i)).concat(pair)
  const moved = x.transpose(order)
  const n = x.shape[second]
  const flat = moved.reshape([...moved.shape.slice(0, -2), n * n])
  const kept = flat.slice(-1, 0, n ? (n - 1) * (n + 1) + 1 : 0, n + 1)
  return diagonal({ x: kept, labels: order.slice(0, -1).map((i) => labels[i]) })
}

/** Summed over every label that `wanted` lacks. */
const reduced = ({ x, labels }: Term, wanted: ReadonlySet<string>): Term => {
  const gone = labels.flatMap((l, i) => (wanted.has(l) ? [] : [i]))
  return gone.length ? { x: x.sum(gone), labels: labels.filter((l) => wanted.has(l)) } : { x, labels }
}

const arranged = ({ x, labels }: Term, order: readonly string[]): Tensor =>
  x.transpose(order.map((l) => labels.indexOf(l)))

/** The product of two terms, summed over the labels they share and that nobody `needs`: one batched matrix product. */
const product = (p: Term, q: Term, needed: ReadonlySet<string>): Term => {
  const a = reduced(p, new Set([...q.labels, ...needed]))
  const b = reduced(q, new Set([...p.labels, ...needed]))
  const shared = a.labels.filter((l) => b.labels.includes(l))
  const batch = shared.filter((l) => needed.has(l))
  const summed = shared.filter((l) => !needed.has(l))
  const [rows, columns] = [a, b].map(({ labels }) => labels.filter((l) => !shared.includes(l)))
  const size = (t: Term, ls: readonly string[]): number =>
    ls.reduce((n, l) => n * t.x.shape[t.labels.indexOf(l)], 1)
  const n = size(a, rows)
  const k = size(a, summed)
  const m = size(b, columns)
  const lead = batch.length ? [size(a, batch)] : []
  const left = arranged(a, [...batch, ...rows, ...summed]).reshape([...lead, n, k])
  const right = arranged(b, [...batch, ...summed, ...columns]).reshape([...lead, k, m])
  const y = summed.length ? left.matmul(right) : left.mul(right)
  const labels = [...batch, ...rows, ...columns]
  const lengthOf = (l: string): number => size(a.labels.includes(l) ? a : b, [l])
  return { x: y.reshape(labels.map(lengthOf)), labels }
}

/**
 * Einstein's summation, as NumPy writes it: `einsum('bij,bjk->bik', a, b)`. A letter names an axis; one that occurs
 * twice in a term takes the diagonal, one that the output lacks is summed over; `...` stands for leading axes that
 * broadcast; without `->` the output is the letters that occur once, in order. Terms are multiplied from left to
 * right, each pair as one batched matrix product. operands: [...] of the rank that its term says, as many as there
 * are terms. Throws ShapeError naming the equation and the shapes.
 */
export const einsum = (equation: string, ...operands: readonly Tensor[]): Tensor => {
  const fail = (message: string): never => {
    throw new ShapeError('einsum', `'${equation}' on ${show(...operands.map((x) => x.shape))}: ${message}`)
  }
  const parsed = parse(equation, operands, fail)
  const sizes = lengths(parsed, operands, fail)
  const terms = operands.map((x, i): Term => {
    // An axis of length 1 that '...' stretches is no axis of the term at all.
    const kept = parsed.inputs[i].flatMap((l, axis) => (x.shape[axis] === sizes.get(l) ? [axis] : []))
    return diagonal({
      x: x.reshape(kept.map((a) => x.shape[a])),
      labels: kept.map((a) => parsed.inputs[i][a]),
    })
  })
  let result = terms[0]
  for (let i = 1; i < terms.length; i++)
    result = product(
      result,
      terms[i],
      new Set([...parsed.output, ...terms.slice(i + 1).flatMap((t) => t.labels)]),
    )
  return arranged(reduced(result, new Set(parsed.output)), parsed.output)
}
