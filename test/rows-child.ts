/**
 * @file A process that takes the loss of a head over 40,000 tokens and its gradients, and prints by how many bytes its memory grew
 * meanwhile: rows.test.ts runs it. Arguments: rows, rows of a chunk.
 */
import { readFileSync } from 'node:fs'
import { logitsBy } from '../src/models/index.js'
import {
  compile,
  crossEntropy,
  RandomStreams,
  type Tensor,
  valueAndGrad,
  valueOf,
} from '../src/tensor/index.js'
import { sumOfRows } from '../src/train/index.js'

const [rows, chunk] = process.argv.slice(2).map(Number)
const [width, vocabulary] = [16, 40_000]

const loss = ({ x, w }: { x: Tensor; w: Tensor }, labels: Tensor): Tensor => {
  const logits = logitsBy((rows) => rows.matmul(w.t()), x)
  const counted = labels.notEqual(-100)
  const cost = (logits: Tensor, labels: Tensor): Tensor => crossEntropy(logits, labels, { reduction: 'none' })
  return sumOfRows(cost, { logits, given: [labels], counted, chunk }, { random: new RandomStreams() })
}

const filled = (shape: number[]): ReturnType<typeof valueOf> =>
  valueOf(
    Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(i) / 4),
    shape,
  )
const inputs = { x: filled([1, rows, width]), w: filled([vocabulary, width]) }
const labels = valueOf(
  Int32Array.from({ length: rows }, (_, i) => (i * 17) % vocabulary),
  [1, rows],
  'int32',
)
const program = await compile(
  ({ inputs, labels }: { inputs: { x: Tensor; w: Tensor }; labels: Tensor }) =>
    valueAndGrad((p: { x: Tensor; w: Tensor }) => loss(p, labels))(inputs),
  { inputs, labels },
)
/** Most memory that this process has had, in bytes; where the system says it, since the last time it was set back. */
const peak = (): number => {
  try {
    const [, kilobytes] = /VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))!
    return Number(kilobytes) * 1024
  } catch {
    return process.resourceUsage().maxRSS * 1024
  }
}
globalThis.gc?.()
const before = process.memoryUsage.rss()
for (let run = 0; run < 3; run++) await program.run({ inputs, labels } as never)
process.stdout.write(String(peak() - before))
