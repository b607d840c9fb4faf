/** @file How fast this machine computes: tried in less than a second, so that the time of a step can be said beforehand. */
import { compile, sizeOf, type Tensor, type Value, valueOf, type Work } from '../tensor/index.js'

/** How much of each kind of work this machine does in a second. */
export type Speed = Readonly<Record<keyof Work, number>>

const filled = (shape: readonly number[]): Value => valueOf(new Float32Array(sizeOf(shape)).fill(0.3), shape)

type Inputs = Readonly<Record<'x' | 'w', Tensor>>

/** Milliseconds after which a program is not run once more. */
const budget = 100

/** Seconds of one run of `f`, by the fastest of a few: the first also takes memory. `before` each run comes what is not timed. */
const secondsFor = async (
  f: (inputs: Inputs) => Tensor,
  x: Value,
  w: Value,
  before: () => void = () => undefined,
): Promise<number> => {
  const inputs = { x, w }
  const program = await compile(f, inputs)
  const begin = performance.now()
  let best = Infinity
  for (let run = 0; run < 2 || (run < 5 && performance.now() - begin < budget); run++) {
    before()
    const start = performance.now()
    await program.run(inputs)
    best = Math.min(best, performance.now() - start)
  }
  return best / 1000
}

const chain = (x: Tensor, count: number, each: (x: Tensor) => Tensor): Tensor =>
  Array.from({ length: count }).reduce<Tensor>((y) => each(y), x)

/** Rows and width of tensors that no cache holds, as the largest of a step. */
const large = [8192, 1024] as const
/** Rows and width of a product that computes for longer than it moves numbers. */
const rows = 2048
const width = 1024
/** Rows and width of one that does not. */
const few = 32
const wide = 2048
const times = 2
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
  const small = filled([8])
  const tensor = filled(large)
  // A step's thousands of nodes find nothing of theirs in the caches, so neither may these.
  const evict = (): void => void (tensor.data as Float32Array).fill(0.3)
  const node = (await secondsFor(({ x }) => chain(x, 1000, (y) => y.add(x)), small, small, evict)) / 1000
  /** Seconds of one `each`: what a run takes whatever it computes is part of every time, and no part of a speed. */
  const spent = async (x: Value, w: Value, each: (y: Tensor, inputs: Inputs) => Tensor): Promise<number> => {
    const of = (count: number) => (inputs: Inputs) =>
      chain(inputs.x, count, (y) => each(y, inputs))
        .sum()
        .add(inputs.w.sum())
    const idle = await secondsFor(of(0), x, w)
    return Math.max(least, ((await secondsFor(of(times), x, w)) - idle) / times)
  }
  const product = (y: Tensor, { w }: Inputs): Tensor => y.matmul(w.t())
  const sum = await spent(tensor, small, (y, { x }) => y.add(x))
  const exp = await spent(tensor, small, (y, { x }) => y.exp().sub(x).mul(0.1))
  const summed = await secondsFor(({ x, w }) => x.add(x).sum().add(w.sum()), tensor, small)
  const given = await secondsFor(({ x, w }) => x.add(x).add(w.sum()), tensor, small)
  const many = await spent(filled([rows, width]), filled([width, width]), product)
  const narrow = await spent(filled([few, wide]), filled([wide, wide]), product)
  const flops = (2 * rows * width * width) / many
  return {
    nodes: 1 / node,
    copied: (4 * sizeOf(large)) / Math.max(least, given - summed),
    bytes: (12 * sizeOf(large)) / sum,
    functions: sizeOf(large) / Math.max(least, exp - 2 * sum),
    flops,
    packed: (4 * wide * wide) / Math.max(least, narrow - (2 * few * wide * wide) / flops),
  }
}

/** Seconds that `work` takes at `speed`. */
export const secondsOf = (work: Work, speed: Speed): number =>
  (Object.keys(work) as (keyof Work)[]).reduce((sum, kind) => sum + work[kind] / speed[kind], 0)
