/** @file The table's layers: softmaxes, norms, convolutions, attention, losses. */
import {
  attention,
  conv1d,
  conv2d,
  type ConvOptions,
  convTranspose1d,
  convTranspose2d,
  crossEntropy,
  embedding,
  klDivergence,
  layerNorm,
  logSoftmax,
  logSumExp,
  meanSquaredError,
  rmsNorm,
  rotary,
  softmax,
  type Tensor,
} from '../../src/tensor/index.js'
import type { Draw } from '../draw.js'
import type { Case, Operation } from './operation.js'

const along = (name: string, f: (x: Tensor, axis: number) => Tensor): Operation => ({
  name,
  make: (d) => {
    const shape = d.shape()
    const axis = d.axis(shape)
    return { inputs: [d.values(shape)], f: (x) => f(x, axis) }
  },
})

const layer = (name: string, make: (d: Draw) => Case): Operation => ({ name, make })

/** Convolution options, and the least size that a kernel of `kernel` needs. */
const convOptions = (d: Draw, groups: number, kernel: number): ConvOptions & { least: number } => {
  const [stride, padding, dilation] = [d.int(1, 3), d.int(0, 2), d.int(1, 2)]
  return { stride, padding, dilation, groups, least: dilation * (kernel - 1) + 1 }
}

const convolution = (name: string, spatial: 1 | 2, transposed: boolean): Operation =>
  layer(name, (d) => {
    const [groups, wide, out, kernel] = [d.int(1, 2), d.int(1, 2), d.int(1, 2), d.int(1, 3)]
    const { least, ...options } = convOptions(d, groups, kernel)
    const size = Array.from({ length: spatial }, () => least + d.int(0, 3))
    const batch = d.rows(groups * wide * size.reduce((n, s) => n * s, 1) * 4)
    const channels = transposed ? [groups * wide, out] : [groups * out, wide]
    const kernels = Array.from({ length: spatial }, () => kernel)
    // Padding may not eat a transposed convolution's whole output.
    const fit =
      transposed && least < 2 * (options.padding as number) + 1 ? { ...options, padding: 0 } : options
    const f = transposed
      ? spatial === 1
        ? convTranspose1d
        : convTranspose2d
      : spatial === 1
        ? conv1d
        : conv2d
    return {
      inputs: [
        d.values([batch, groups * wide, ...size]),
        d.values([...channels, ...kernels]),
        d.values([groups * out]),
      ],
      f: (x, w, bias) => (f as typeof conv2d)(x, w, { ...fit, bias }),
    }
  })

const attentionCase = (
  d: Draw,
): { inputs: Case['inputs']; heads: number; time: number; keys: number; batch: number } => {
  const [groups, keyHeads, size] = [d.int(1, 2), d.int(1, 2), d.width(1, 4)]
  const [time, keys] = [d.width(1, 4), d.width(1, 4)]
  const heads = groups * keyHeads
  const batch = d.rows(heads * time * (size + 2 * keys))
  return {
    inputs: [
      d.values([batch, heads, time, size]),
      d.values([batch, keyHeads, keys, size]),
      d.values([batch, keyHeads, keys, d.int(1, 3)]),
    ],
    heads,
    time,
    keys,
    batch,
  }
}

export const layers: readonly Operation[] = [
  along('softmax', softmax),
  along('logSoftmax', logSoftmax),
  along('logSumExp', logSumExp),
  layer('layerNorm', (d) => {
    const width = d.width(2, 5)
    return {
      inputs: [d.values([d.rows(width), width]), d.values([width]), d.values([width])],
      f: (x, weight, bias) => layerNorm(x, { weight, bias, epsilon: 0.1 }),
    }
  }),
  layer('layerNorm of any rank, plain', (d) => {
    const x = d.values([d.rows(256), 2, d.width(4, 4)])
    return { inputs: [x], f: (t) => layerNorm(t, { epsilon: 0.1 }) }
  }),
  layer('rmsNorm', (d) => {
    const width = d.width(2, 5)
    return {
      inputs: [d.values([d.rows(2 * width), 2, width]), d.values([width])],
      f: (x, weight) => rmsNorm(x, weight, { epsilon: 0.1 }),
    }
  }),
  convolution('conv1d', 1, false),
  convolution('conv2d', 2, false),
  convolution('convTranspose1d', 1, true),
  convolution('convTranspose2d', 2, true),
  layer('attention', (d) => ({ inputs: attentionCase(d).inputs, f: (q, k, v) => attention(q, k, v).output })),
  layer('attention with mask, bias and soft cap; all its outputs', (d) => {
    const { inputs, heads, time, keys } = attentionCase(d)
    // The first key is always seen.
    const mask = d.bools([1, 1, time, keys])
    for (let t = 0; t < time; t++) mask.data[t * keys] = 1
    return {
      inputs: [...inputs, d.values([1, heads, time, keys]), mask],
      f: (q, k, v, bias, seen) =>
        Object.values(attention(q, k, v, { bias, mask: seen, softcap: 3, scale: 0.7 })),
    }
  }),
  layer('rotary', (d) => {
    const [heads, time, half] = [d.int(1, 2), d.int(1, 3), d.int(1, 2)]
    const table = [1, 1, time, 2 * half]
    return {
      inputs: [
        d.values([d.rows(heads * time * 2 * half), heads, time, 2 * half]),
        d.values(table),
        d.values(table),
      ],
      f: rotary,
    }
  }),
  layer('rotary, a number a pair', (d) => {
    const [heads, time, half] = [d.int(1, 2), d.int(1, 3), d.int(1, 2)]
    const batch = d.rows(heads * time * 2 * half)
    const table = [d.int(0, 1) ? batch : 1, 1, time, half]
    return { inputs: [d.values([batch, heads, time, 2 * half]), d.values(table), d.values(table)], f: rotary }
  }),
  ...(['mean', 'sum', 'none'] as const).map((reduction) =>
    layer(`crossEntropy, ${reduction}`, (d) => {
      const classes = d.int(2, 5)
      const rows = d.rows(2 * classes)
      const labels = d.ids([rows, 2], classes + 1)
      const ignored = labels.dtype === 'int64' ? BigInt(-100) : -100
      labels.data.forEach((label: number | bigint, i: number) => {
        if (Number(label) === classes) labels.data[i] = ignored
      })
      return {
        inputs: [d.values([rows, 2, classes]), labels],
        f: (x, y) => crossEntropy(x, y, { reduction }),
      }
    }),
  ),
  layer('klDivergence', (d) => {
    const shape = d.shape()
    return { inputs: [d.values(shape), d.values(shape)], f: klDivergence }
  }),
  layer('meanSquaredError', (d) => {
    const shape = d.shape()
    return { inputs: [d.values(shape), d.values(shape)], f: meanSquaredError }
  }),
  layer('embedding', (d) => {
    const [count, width] = [d.int(2, 6), d.int(1, 3)]
    return {
      inputs: [d.values([count, width]), d.ids([d.rows(2 * width), 2], count)],
      f: (t, ids) => embedding(t, ids).square(),
    }
  }),
]
