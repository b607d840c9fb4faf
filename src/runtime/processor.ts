/**
 * @file What integer products do on the running processor. Processors without instructions for sums of four 8-bit
 * products (VNNI on x86) get kernels of ONNX Runtime that add pairs of u8 x s8 products in 16 bits, where they
 * saturate: 2 x 255 x 127 is 64,770 and becomes 32,767. No list of processors is kept: one product is run and looked
 * at.
 */
import type { Device } from '../tensor/device.js'
import { encodeModel, type OnnxGraph, onnxType } from '../tensor/onnx.js'
import { toNumbers, type Value, value } from '../tensor/value.js'
import type { OpenSession, Session } from './session.js'

const depth = 64
const width = 16
/** One row has a kernel of its own, many rows another. */
const rowCounts = [1, 9] as const

const graph: OnnxGraph = {
  name: 'g',
  nodes: rowCounts.map((rows) => ({
    type: 'MatMulInteger',
    inputs: [`a${rows}`, 'b'],
    outputs: [`y${rows}`],
  })),
  inputs: [
    ...rowCounts.map((rows) => ({ name: `a${rows}`, type: onnxType.uint8, shape: [rows, depth] })),
    { name: 'b', type: onnxType.int8, shape: [depth, width] },
  ],
  outputs: rowCounts.map((rows) => ({ name: `y${rows}`, type: onnxType.int32, shape: [rows, width] })),
  initializers: [],
}

const extremes = (): Readonly<Record<string, Value>> => ({
  ...Object.fromEntries(
    rowCounts.map((rows) => [
      `a${rows}`,
      value(new Uint8Array(rows * depth).fill(255), [rows, depth], 'uint8'),
    ]),
  ),
  b: value(new Int8Array(depth * width).fill(127), [depth, width], 'int8'),
})

/** Whether u8 x s8 products come out wrong in sessions that `open` opens on `device`. Throws what `open` does. */
const saturates = async (open: OpenSession, device: Device): Promise<boolean> => {
  const session: Session = await open(encodeModel(graph), {
    device,
    optimization: 'all',
    memory: new Map(),
    prepack: true,
  })
  const products = await session.run(
    extremes(),
    graph.outputs.map(({ name }) => name),
  )
  return products.some((y) => toNumbers(y).some((x) => x !== 255 * 127 * depth))
}

const answers = new WeakMap<OpenSession, Map<Device, Promise<boolean>>>()

/**
 * Whether u8 x s8 products saturate where `open` opens sessions on `device`: found out at the first question, by
 * running two small products, and remembered. Throws EngineError where no session opens; the next question then tries
 * again.
 */
export const saturatesSignedProducts = (open: OpenSession, device: Device): Promise<boolean> => {
  const known = answers.get(open) ?? new Map<Device, Promise<boolean>>()
  answers.set(open, known)
  const answer = known.get(device) ?? saturates(open, device)
  known.set(device, answer)
  answer.catch(() => known.delete(device))
  return answer
}
