/**
 * @file Runs the table of operations on a device and compares with the reference interpreter. It knows no test framework, so
 * that a browser can run it too.
 */
import { Stream } from '../src/random/index.js'
import {
  compile,
  type ComputeDType,
  type Device,
  isFloat,
  type Program,
  type RunOptions,
  Tensor,
  toNumbers,
  type Value,
  value,
  valueAndGrad,
} from '../src/tensor/index.js'
import { Draw } from './draw.js'
import { type Case, type Operation, operations } from './operations.js'

/** What a device lacks, by operation (and dtype where not all lack it), and why. */
export const lacking: Readonly<Partial<Record<Device, Readonly<Record<string, string>>>>> = {
  webgpu: {
    'cast through float16': 'no float16 without the optional feature shader-f16',
    'cast through bfloat16': 'WebGPU has no bfloat16',
  },
}

const dtypesOf = ({ dtypes = ['float32'] }: Operation): readonly ComputeDType[] => dtypes

/** A case of the operation, the same on every machine. */
export const drawn = (operation: Operation, dtype: ComputeDType, index: number, large = false): Case => {
  const stream = new Stream(`${operation.name}/${index}`)
  const choices = Array.from({ length: index === 0 ? 0 : 16 }, () => stream.int(1000))
  return operation.make(new Draw(choices, { dtype, large }))
}

type Compiled = Program<readonly Value[], readonly Value[]>

/** The operation's outputs and, of float ones, the gradients of their sum of squares. */
const program = (
  { inputs, f }: Case,
  differentiable: boolean,
  device: Device | 'reference',
): Promise<Compiled> =>
  compile(
    (given: Tensor[]) => {
      const outputs = [f(...given)].flat()
      const wrt = given.filter((t) => isFloat(t.dtype))
      if (!differentiable || wrt.length === 0) return outputs
      const { grads } = valueAndGrad((own: Tensor[]) =>
        [f(...given.map((t) => (wrt.includes(t) ? own[wrt.indexOf(t)] : t)))]
          .flat()
          .filter((t) => isFloat(t.dtype))
          .map((t) => t.square().sum())
          .reduce((a, b) => a.add(b)),
      )(wrt)
      return [...outputs, ...grads]
    },
    inputs as Value[],
    { device },
  ) as unknown as Promise<Compiled>

const hasGradient = ({ differentiable = true }: Operation, dtype: ComputeDType): boolean =>
  differentiable && dtype === 'float32'

const run: RunOptions = { seed: 1 }

/** Where `got` is further from `expected` than rounding explains; undefined where it is not. */
const difference = (expected: Value, got: Value, tolerance: number): string | undefined => {
  if (got.dtype !== expected.dtype || `${got.shape}` !== `${expected.shape}`)
    return `${got.dtype} [${got.shape}], expected ${expected.dtype} [${expected.shape}]`
  const [a, b] = [toNumbers(expected), toNumbers(got)]
  const scale = isFloat(expected.dtype) ? tolerance * a.reduce((m, x) => Math.max(m, Math.abs(x)), 1) : 0
  const at = a.findIndex((x, i) => !(Math.abs(x - b[i]) <= scale))
  return at < 0 ? undefined : `element ${at} is ${b[at]}, expected ${a[at]}`
}

/** Cases of one operation in one dtype on `device` against the interpreter: what disagrees, or nothing. */
export const disagreements = async (
  operation: Operation,
  dtype: ComputeDType,
  device: Device,
  { cases = 4, tolerance = 1e-5 }: { cases?: number; tolerance?: number } = {},
): Promise<string[]> => {
  const found: string[] = []
  for (let index = 0; index < cases; index++) {
    const drawnCase = drawn(operation, dtype, index)
    const shapes = drawnCase.inputs.map((v) => `${v.dtype}[${v.shape}]`).join(' ')
    const differentiable = hasGradient(operation, dtype)
    const reference = await program(drawnCase, differentiable, 'reference')
    const expected = await reference.run(drawnCase.inputs, run)
    try {
      const got = await (await program(drawnCase, differentiable, device)).run(drawnCase.inputs, run)
      for (const [i, v] of got.entries()) {
        const host = value(await v.read(), v.shape, v.dtype)
        const message = difference(expected[i], host, tolerance)
        if (message) found.push(`case ${index} (${shapes}), output ${i}: ${message}`)
      }
    } catch (error) {
      found.push(`case ${index} (${shapes}): ${(error as Error).message}`)
    }
  }
  return found
}

/** A case of about a million elements, run `times` times: the runs whose bits differ from the first one's. */
export const unstableRuns = async (
  operation: Operation,
  device: Device,
  times: number,
): Promise<number[]> => {
  const dtype = dtypesOf(operation)[0]
  const large = drawn(operation, dtype, 1, true)
  const compiled = await program(large, hasGradient(operation, dtype), device)
  const bytes = (v: Value): Buffer => Buffer.from(v.data.buffer, v.data.byteOffset, v.data.byteLength)
  const first = (await compiled.run(large.inputs, run)).map(bytes)
  const different: number[] = []
  for (let i = 1; i < times; i++) {
    const again = (await compiled.run(large.inputs, run)).map(bytes)
    if (!again.every((b, k) => b.equals(first[k]))) different.push(i)
  }
  return different
}

export interface DeviceTest {
  readonly operation: Operation
  readonly dtype: ComputeDType
  readonly name: string
  /** Why the device is not asked. */
  readonly skipped?: string
}

/** Every operation in every dtype it has, with the reason where `device` lacks it. */
export const deviceTests = (device: Device): DeviceTest[] =>
  operations.flatMap((operation) =>
    dtypesOf(operation).map((dtype) => ({
      operation,
      dtype,
      name: `${operation.name}, ${dtype}`,
      skipped: lacking[device]?.[operation.name] ?? lacking[device]?.[`${operation.name}, ${dtype}`],
    })),
  )
