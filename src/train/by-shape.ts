/** @file Functions of tensors that are compiled when they first meet inputs of some shapes, and kept for these. */
import {
  compile,
  type CompileOptions,
  leaves,
  type Program,
  type Replace,
  type RunOptions,
  type Spec,
  type Tensor,
  type Value,
} from '../tensor/index.js'

/** `f` on values in place of tensors: compiled once for each set of input shapes. */
export const byShape = <I, O>(
  f: (inputs: I) => O,
  options: CompileOptions = {},
): ((inputs: Replace<I, Tensor, Value>, run?: RunOptions) => Promise<Replace<O, Tensor, Value>>) => {
  type Values = Replace<I, Tensor, Value>
  type Compiled = Program<Values, Replace<O, Tensor, Value>>
  const known = new Map<string, Promise<Compiled>>()
  const compileFor = (inputs: Values): Promise<Compiled> => {
    const traced = f as unknown as (inputs: Replace<Values, Spec, Tensor>) => O
    return compile(traced, inputs, options) as unknown as Promise<Compiled>
  }
  return async (inputs, run) => {
    const specs = leaves<Spec>(inputs).map(({ path, leaf }) => `${path} ${leaf.dtype} ${leaf.shape}`)
    const key = specs.join('\n')
    const program = known.get(key) ?? compileFor(inputs)
    known.set(key, program)
    program.catch(() => known.delete(key))
    return (await program).run(inputs, run)
  }
}
