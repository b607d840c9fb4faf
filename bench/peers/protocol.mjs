/** @file How a peer talks to the benchmark: a problem in a folder, then one line a request, one JSON line an answer. */
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'

/** The problem: sizes, tokens (which are the labels too), the optimiser's numbers, and every parameter's by name. */
export const problem = () => {
  const folder = process.argv[2]
  const { parameters, ...rest } = JSON.parse(readFileSync(`${folder}/problem.json`, 'utf8'))
  const { buffer, byteOffset } = readFileSync(`${folder}/weights.bin`)
  let at = byteOffset
  const weights = parameters.map(({ name, shape }) => {
    const size = shape.reduce((n, d) => n * d, 1)
    const data = new Float32Array(buffer.slice(at, (at += 4 * size)))
    return { name, shape, data }
  })
  return { ...rest, weights }
}

/** One-hot rows, [ids, vocabulary]. */
export const oneHot = (ids, vocabulary) => {
  const hot = new Float32Array(ids.length * vocabulary)
  for (const [row, id] of ids.entries()) if (id >= 0) hot[row * vocabulary + id] = 1
  return hot
}

/** What each position is to predict: the next token of its row; -1 at the last, which predicts nothing. */
export const targets = (ids, time) => ids.map((_, i) => ((i + 1) % time ? ids[i + 1] : -1))

/** 0 where a token is seen, a large negative number elsewhere: [time, time]. */
export const causalMask = (time) =>
  Float32Array.from({ length: time * time }, (_, i) => (i % time <= Math.floor(i / time) ? 0 : -1e30))

/** Answers each line `n` with the milliseconds of n training steps and the loss of the first. */
export const serve = async (step, label) => {
  console.log(JSON.stringify({ label }))
  for await (const line of createInterface({ input: process.stdin })) {
    const times = []
    let first
    for (let i = 0; i < Number(line); i++) {
      const start = performance.now()
      const loss = await step()
      times.push(performance.now() - start)
      first ??= loss
    }
    console.log(JSON.stringify({ times, loss: first }))
  }
  process.exit(0)
}
