/** @file The table's operations on images: channel norms, pooling, resizing. */
import {
  adaptiveAveragePool2d,
  averagePool1d,
  averagePool2d,
  batchNorm,
  batchNormTraining,
  globalAveragePool2d,
  groupNorm,
  instanceNorm,
  maxPool1d,
  maxPool2d,
  resize,
  type Tensor,
} from '../../src/tensor/index.js'
import type { Draw } from '../draw.js'
import type { Case, Operation } from './operation.js'

/** [batch, channels, height, width], no side shorter than `least`; the result has `places` of them. */
const imageShape = (d: Draw, channels: number, least = 1, places = 1): number[] => {
  const [height, width] = [least + d.int(0, 3), least + d.int(0, 3)]
  return [d.rows(channels * Math.max(height * width, places)), channels, height, width]
}

const images = (name: string, make: (d: Draw) => Case, options: Partial<Operation> = {}): Operation => ({
  name,
  make,
  ...options,
})

/** x, weight and bias of a norm over channels. */
const normed = (d: Draw, channels: number): Case['inputs'] => [
  d.values(imageShape(d, channels, 2)),
  d.values([channels]),
  d.values([channels]),
]

const pooling = (
  name: string,
  f: (x: Tensor, kernel: number, o: { stride: number; padding: number; dilation: number }) => Tensor,
  spatial: 1 | 2,
): Operation =>
  images(
    name,
    (d) => {
      const [kernel, stride, dilation] = [d.int(1, 3), d.int(1, 3), d.int(1, 2)]
      const padding = d.int(0, Math.floor(kernel / 2))
      const [batch, channels, ...size] = imageShape(d, d.int(1, 2), dilation * (kernel - 1) + 1)
      return {
        inputs: [d.apart([batch, channels, ...size.slice(0, spatial)])],
        f: (x) => f(x, kernel, { stride, padding, dilation }),
      }
    },
    { smooth: false },
  )

const resized = (name: string, options: Parameters<typeof resize>[2]): Operation =>
  images(
    name,
    (d) => {
      const size = [d.int(1, 6), d.int(1, 6)] as const
      return {
        inputs: [d.values(imageShape(d, d.int(1, 2), 1, size[0] * size[1]))],
        f: (x) => resize(x, size, options),
      }
    },
    { smooth: false },
  )

const epsilon = 0.1

export const imageOperations: readonly Operation[] = [
  images('groupNorm', (d) => {
    const groups = d.int(1, 2)
    return {
      inputs: normed(d, 2 * groups),
      f: (x, weight, bias) => groupNorm(x, groups, { weight, bias, epsilon }),
    }
  }),
  images('instanceNorm', (d) => ({
    inputs: normed(d, d.int(1, 3)),
    f: (x, weight, bias) => instanceNorm(x, { weight, bias, epsilon }),
  })),
  images('batchNorm', (d) => {
    const channels = d.int(1, 3)
    return {
      inputs: [...normed(d, channels), d.values([channels]), d.positive([channels])],
      f: (x, weight, bias, mean, variance) => batchNorm(x, mean, variance, { weight, bias, epsilon }),
    }
  }),
  images('batchNormTraining', (d) => {
    const channels = d.int(1, 3)
    return {
      inputs: [...normed(d, channels), d.values([channels]), d.positive([channels])],
      f: (x, weight, bias, mean, variance) =>
        batchNormTraining(x, mean, variance, { weight, bias, epsilon }).output,
    }
  }),
  images(
    'batchNormTraining, running statistics',
    (d) => {
      const channels = d.int(1, 3)
      return {
        inputs: [d.values(imageShape(d, channels, 2)), d.values([channels]), d.positive([channels])],
        f: (x, m, v) => {
          const { mean, variance } = batchNormTraining(x, m, v)
          return [mean, variance]
        },
      }
    },
    { differentiable: false },
  ),
  pooling('maxPool2d', maxPool2d, 2),
  pooling('maxPool1d', maxPool1d, 1),
  pooling('averagePool2d', averagePool2d, 2),
  pooling(
    'averagePool2d of what lies inside',
    (x, k, o) => averagePool2d(x, k, { ...o, countPadding: false }),
    2,
  ),
  pooling('averagePool1d', averagePool1d, 1),
  images(
    'adaptiveAveragePool2d',
    (d) => {
      const size = [d.int(1, 4), d.int(1, 4)] as const
      return {
        inputs: [d.values(imageShape(d, d.int(1, 2), 1, size[0] * size[1]))],
        f: (x) => adaptiveAveragePool2d(x, size),
      }
    },
    { smooth: false },
  ),
  images('globalAveragePool2d', (d) => ({ inputs: [d.values(imageShape(d, 2))], f: globalAveragePool2d }), {
    smooth: false,
  }),
  resized('resize, nearest', { mode: 'nearest' }),
  resized('resize, bilinear', { mode: 'bilinear' }),
  resized('resize, bicubic', { mode: 'bicubic' }),
  resized('resize, bilinear with aligned corners', { mode: 'bilinear', alignCorners: true }),
]
