/** @file A worker for the tests of the worker host, in Node and in a page. */
import { serve, sessionFunctions, type WorkerContext } from '../src/runtime/index.js'
import { compile, type Tensor, type Value, valueOf } from '../src/tensor/index.js'
import { UsageError } from '../src/errors.js'

/** A product that takes a good part of a second. */
const size = 1500
const spec = { shape: [size, size], dtype: 'float32' as const }

const functions = {
  ...sessionFunctions(),
  double: async ({ x }: { x: Value }): Promise<{ y: Value }> => {
    const program = await compile(({ x }: { x: Tensor }) => ({ y: x.mul(2) }), { x })
    return program.run({ x })
  },
  /** Runs a program `runs` times, reporting each, until it is told to stop. */
  work: async ({ runs }: { runs: number }, { emit, turn }: WorkerContext): Promise<number> => {
    const program = await compile(({ x }: { x: Tensor }) => ({ y: x.matmul(x) }), { x: spec })
    const x = valueOf(new Float32Array(size * size), spec.shape)
    for (let run = 0; run < runs; run++) {
      await program.run({ x })
      emit({ run })
      await turn()
    }
    return runs
  },
  /** Never looks at its signal. */
  spin: ({ milliseconds }: { milliseconds: number }): void => {
    const end = Date.now() + milliseconds
    while (Date.now() < end);
  },
  fail: (): never => {
    throw new UsageError('BadThing', 'a bad thing: 7, expected 8')
  },
}
export type JobFunctions = typeof functions

serve(functions)
