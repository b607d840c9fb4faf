/** @file How fast random numbers are drawn: the SIMD module against plain TypeScript and the platform's generator. */
import { fillWords, keyOf, normal } from '../src/random/index.js'
import { scalar } from '../src/random/scalar.js'

/** One measurement: ours and theirs in `unit`, and how many times as fast ours is. */
export interface Row {
  name: string
  ours: number
  theirs: number
  peer: string
  unit: string
  ratio: number
}

/** Millions of elements a second: the best of five passes after one to warm up. */
const rate = (count: number, fill: () => void): number => {
  let best = 0
  for (let pass = 0; pass < 6; pass++) {
    const start = performance.now()
    fill()
    const seconds = (performance.now() - start) / 1000
    if (pass) best = Math.max(best, count / seconds / 1e6)
  }
  return best
}

const row = (name: string, unit: string, ours: number, theirs: number, peer: string): Row => ({
  name,
  ours,
  theirs,
  peer,
  unit,
  ratio: ours / theirs,
})

export const random = async (): Promise<Row[]> => {
  const key = keyOf('bench')
  const run = { counter: [0, 0, 0, 0], key } as const
  const count = 2 ** 22
  const words = new Uint32Array(count)
  const floats = new Float32Array(count)
  const ours = rate(count, () => fillWords(words, key))
  const plain = rate(count, () => scalar.words(words, run))
  const platform = rate(count, () => {
    // The platform fills at most 65,536 bytes a call.
    for (let at = 0; at < count; at += 16384) crypto.getRandomValues(words.subarray(at, at + 16384))
  })
  const normals = rate(count, () => normal(floats, key))
  const plainNormals = rate(count, () => scalar.ih8(floats, run))
  return [
    row('random words', 'M words/s', ours, plain, 'Philox in plain TypeScript'),
    row('random words', 'M words/s', ours, platform, 'crypto.getRandomValues'),
    row('normal draws', 'M numbers/s', normals, plainNormals, 'the same sampler in plain TypeScript'),
  ]
}
