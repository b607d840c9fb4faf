/** @file How fast random numbers are drawn: the SIMD module against plain TypeScript and the platform's generator. */
import { fillWords, keyOf, normal } from '../src/random/index.js'
import { scalar } from '../src/random/scalar.js'
import { row } from './row.js'
import type { Row } from './row.js'

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

export const bench = async (): Promise<Row[]> => {
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
    row('random words', ours, 'Philox in plain TypeScript', plain, 'M words/s'),
    row('random words', ours, 'crypto.getRandomValues', platform, 'M words/s'),
    row('normal draws', normals, 'the same sampler in plain TypeScript', plainNormals, 'M numbers/s'),
  ]
}
