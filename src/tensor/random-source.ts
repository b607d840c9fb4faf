/** @file The random bytes of a run: a function of its seed and step alone. */
import { fillBytes, keyOf } from '../random/index.js'

/** `count` random bytes of stream number `stream`. */
export type RandomSource = (count: number, stream: number) => Uint8Array

/** Options of a run: its random bytes. */
export interface RunOptions {
  /** Seed of the random bytes (dropout): the same seed and step give the same bytes everywhere. Default 0. */
  readonly seed?: number | string
  /** Step of training, or any other count of runs. Default 0. */
  readonly step?: number
}

/** The random bytes at a seed and step, from Philox. Throws SeedError for a seed that is none. */
export const randomSource = ({ seed = 0, step = 0 }: RunOptions): RandomSource => {
  const key = keyOf(`${seed}/${step}`)
  return (count, stream) => {
    const out = new Uint8Array(count)
    fillBytes(out, key, { tensor: stream })
    return out
  }
}
