/** @file Normalisations of [batch, channels, ...] tensors: group, instance and batch norm. */
import { fused } from '../control.js'
import { ones, scalar, stopGradient, zeros } from '../create.js'
import { ShapeError, show } from '../shape.js'
import type { Tensor } from '../tensor.js'
import { layerNorm } from './norm.js'

/** Options of the norms over channels. */
export interface ChannelNormOptions {
  /** Factor of each channel: [channels]. Default ones. */
  readonly weight?: Tensor
  /** Bias of each channel: [channels]. Default zeros. */
  readonly bias?: Tensor
  /** Number added to the variance. Default 1e-5. */
  readonly epsilon?: number
}

const requireChannels = (name: string, x: Tensor, ...parameters: readonly (Tensor | undefined)[]): void => {
  if (x.rank < 2) throw new ShapeError(name, `${show(x.shape)} is not [batch, channels, ...]`)
  for (const p of parameters)
    if (p && (p.rank !== 1 || p.shape[0] !== x.shape[1]))
      throw new ShapeError(
        name,
        `${show(x.shape, p.shape)}: a parameter must have one number for each channel`,
      )
}

/** `p` ([channels]) so shaped that it broadcasts over `x`: [channels, 1, ...]. */
const channelwise = (p: Tensor, x: Tensor): Tensor => p.reshape([-1, ...x.shape.slice(2).map(() => 1)])

/**
 * Group norm: each of `groups` equal runs of channels normalised over its channels and all places (Wu & He 2018),
 * times `weight`, plus `bias`. x: [batch, channels, ...]. Throws ShapeError.
 */
export const groupNorm = (
  x: Tensor,
  groups: number,
  { weight, bias, epsilon = 1e-5 }: ChannelNormOptions = {},
): Tensor => {
  requireChannels('groupNorm', x, weight, bias)
  if (!Number.isInteger(groups) || groups < 1 || x.shape[1] % groups)
    throw new ShapeError('groupNorm', `${groups} groups do not divide the channels of ${show(x.shape)}`)
  const normal = layerNorm(x.reshape([x.shape[0], groups, -1]), { epsilon }).reshape(x.shape)
  const scaled = weight ? normal.mul(channelwise(weight, x)) : normal
  return bias ? scaled.add(channelwise(bias, x)) : scaled
}

/**
 * Instance norm: each channel of each example over its places (Ulyanov et al. 2016). x: [batch, channels, ...].
 * Throws ShapeError.
 */
export const instanceNorm = (x: Tensor, options: ChannelNormOptions = {}): Tensor => {
  requireChannels('instanceNorm', x, options.weight, options.bias)
  return groupNorm(x, x.shape[1], options)
}

/**
 * Batch norm (x - mean) / sqrt(variance + epsilon) a channel, times `weight`, plus `bias`, by statistics that are
 * given, as in inference. x: [batch, channels, ...], mean, variance: [channels]. Throws ShapeError.
 */
export const batchNorm = (
  x: Tensor,
  mean: Tensor,
  variance: Tensor,
  { weight, bias, epsilon = 1e-5 }: ChannelNormOptions = {},
): Tensor => {
  requireChannels('batchNorm', x, mean, variance, weight, bias)
  const w = weight ?? ones(mean.shape, x.dtype)
  const b = bias ?? zeros(mean.shape, x.dtype)
  const scale = w.div(variance.add(epsilon).sqrt())
  const y = x.mul(channelwise(scale, x)).add(channelwise(b.sub(mean.mul(scale)), x))
  return fused('BatchNormalization', [x, w, b, mean, variance], [y], {
    options: { epsilon: { float: epsilon } },
  })[0]
}

/** Result of batch norm in training. */
export interface BatchNormalised {
  /** Normalised values: [batch, channels, ...]. */
  readonly output: Tensor
  /** Running mean moved towards the batch's: [channels]. */
  readonly mean: Tensor
  /** Running variance moved towards the batch's unbiased one, as PyTorch keeps it: [channels]. */
  readonly variance: Tensor
}

/**
 * Batch norm in training (Ioffe & Szegedy 2015): by the batch's own mean and (biased) variance of each channel,
 * through which the gradient flows. `mean` and `variance` are the running statistics: running + momentum (batch -
 * running) comes back, without gradient. x: [batch, channels, ...]; momentum default 0.1. Throws ShapeError.
 */
export const batchNormTraining = (
  x: Tensor,
  mean: Tensor,
  variance: Tensor,
  { weight, bias, epsilon = 1e-5, momentum = 0.1 }: ChannelNormOptions & { readonly momentum?: number } = {},
): BatchNormalised => {
  requireChannels('batchNormTraining', x, mean, variance, weight, bias)
  const axes = x.shape.flatMap((_, i) => (i === 1 ? [] : [i]))
  const count = x.size / x.shape[1]
  if (count < 2)
    throw new ShapeError('batchNormTraining', `${show(x.shape)} has only one value a channel: no variance`)
  const centre = x.mean(axes)
  const centred = x.sub(channelwise(centre, x))
  const spread = centred.square().mean(axes)
  const inverse = scalar(1, x.dtype).div(spread.add(epsilon).sqrt())
  const normal = centred.mul(channelwise(weight ? inverse.mul(weight) : inverse, x))
  const move = (from: Tensor, to: Tensor): Tensor => stopGradient(from.add(to.sub(from).mul(momentum)))
  return {
    output: bias ? normal.add(channelwise(bias, x)) : normal,
    mean: move(mean, centre),
    variance: move(variance, spread.mul(count / (count - 1))),
  }
}
