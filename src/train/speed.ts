/** @file How fast this machine computes: tried in less than a second, so that the time of a step can be said beforehand. */
import { compile, sizeOf, type Tensor, type Value, valueOf, type Work } from '../tensor/index.js'

/** How much of each kind of work this machine does in a second. */
export type Speed = Readonly<Record<keyof Work, number>>

const filled = (shape: readonly number[]): Value =>
  valueOf(
    Float32Array.from({ length: sizeOf(shape) }, (_, i) => (i % 17) / 17 - 0.5),
    shape,
  )

type Inputs = Readonly<Record<'x' | 'w', Tensor>>

/** Milliseconds after which a program is not run once more. */
const budget = 100

/** Seconds of one run of `f`, by the fastest of a few: the first also takes memory. */
const secondsFor = async (f: (inputs: Inputs) => Tensor, x: Value, w: Value): Promise<number> => {
  const inputs = { x, w }
  const program = await compile(f, inputs)
  const begin = performance.now()
  let best = Infinity
  for (let run = 0; run < 2 || (run < 5 && performance.now() - begin < budget); run++) {
    const start = performance.now()
    await program.run(inputs)
    best = Math.min(best, performance.now() - start)
  }
  return best / 1000
}

const chain = (x: Tensor, count: number, each: (x: Tensor) => Tensor): Tensor =>
  Array.from({ length: count }).reduce<Tensor>((y) => each(y), x)

/** Of tensors too large for the caches that a core has to itself, as a step's are. */
const rows = 2048
const width = 1024
const times = 2
/** Bytes that one addition of two tensors reads and writes. */
const moved = 12 * rows * width
const least = 1e-9

let known: Promise<Speed> | undefined

/**
 * This machine's speed at each kind of work, with the device and the threads that programs have: tried once a process. Throws
 * EngineError.
 */
export const calibrate = (): Promise<Speed> => {
  known ??= measured()
  known.catch(() => (known = undefined))
  return known
}

const measured = async (): Promise<Speed> => {
  const x = filled([rows, width])
  const w = filled([width, width])
  const few = filled([8])
  const node = (await secondsFor(({ x }) => chain(x, 1000, (y) => y.add(x)), few, few)) / 1000
  // What a run takes whatever it computes is part of every time, and no part of a speed.
  const idle = await secondsFor(({ x, w }) => x.sum().add(w.sum()), x, w)
  const spent = async (each: (y: Tensor, inputs: Inputs) => Tensor): Promise<number> =>
    (await secondsFor(
      (inputs) =>
        chain(inputs.x, times, (y) => each(y, inputs))
          .sum()
          .add(inputs.w.sum()),
      x,
      w,
    )) - idle
  const sums = Math.max(least, await spent((y, { x }) => y.add(x)))
  const exps = Math.max(least, (await spent((y, { x }) => y.exp().sub(x).mul(0.1))) - 2 * sums)
  const products = Math.max(least, await spent((y, { w }) => y.matmul(w.t())))
  return {
    nodes: 1 / node,
    bytes: (times * moved) / sums,
    functions: (times * rows * width) / exps,
    flops: (times * 2 * rows * width * width) / products,
  }
}

/** Seconds that `work` takes at `speed`. */
export const secondsOf = (work: Work, speed: Speed): number =>
  (Object.keys(work) as (keyof Work)[]).reduce((sum, kind) => sum + work[kind] / speed[kind], 0)
