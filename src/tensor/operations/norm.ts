/** @file Normalisations over the last axis: layer norm and RMS norm. Others are in norm-channels.ts. */
import { fused } from '../control.js'
import { ones, scalar, zeros } from '../create.js'
import { ShapeError, show } from '../shape.js'
import type { Tensor } from '../tensor.js'

const requireWidth = (name: string, x: Tensor, parameter: Tensor): void => {
  if (parameter.rank !== 1 || parameter.shape[0] !== x.shape[x.rank - 1])
    throw new ShapeError(
      name,
      `${show(x.shape, parameter.shape)}: the weight must have one number for each of the last axis`,
    )
}

/** The sum over all axes but the last. */
const overRows = (g: Tensor): Tensor => g.sum(g.shape.slice(0, -1).map((_, i) => i))

/**
 * (x - mean) / sqrt(variance + epsilon) over the last axis, times `weight`, plus `bias` (Ba et al. 2016).
 * x: [..., width]; weight, bias: [width], default ones and zeros; epsilon default 1e-5. Throws ShapeError.
 */
export const layerNorm = (
  x: Tensor,
  { weight, bias, epsilon = 1e-5 }: { weight?: Tensor; bias?: Tensor; epsilon?: number } = {},
): Tensor => {
  const width = x.shape[x.rank - 1]
  const w = weight ?? ones([width], x.dtype)
  const b = bias ?? zeros([width], x.dtype)
  for (const p of [w, b]) requireWidth('layerNorm', x, p)
  const mean = x.mean(-1, { keep: true })
  const inverse = scalar(1, x.dtype).div(x.sub(mean).square().mean(-1, { keep: true }).add(epsilon).sqrt())
  const y = x.sub(mean).mul(inverse).mul(w).add(b)
  return fused('LayerNormalization', [x, w, b], [y, mean, inverse], {
    options: { axis: -1, epsilon: { float: epsilon } },
    gradient: layerNormGradient,
    again: true,
  })[0]
}

/**
 * `inverse` is 1 / sqrt(variance + epsilon); the mean and it may have cotangents too, when this is differentiated
 * again.
 */
const layerNormGradient = (
  [g, gMean, gInverse]: readonly (Tensor | undefined)[],
  [x, w]: readonly Tensor[],
  [y, mean, inverse]: readonly Tensor[],
): Tensor[] => {
  const normal = x.sub(mean).mul(inverse)
  const cotangent = g ?? zeros(y.shape, y.dtype)
  const h = cotangent.mul(w)
  let dx = h
    .sub(h.mean(-1, { keep: true }))
    .sub(normal.mul(h.mul(normal).mean(-1, { keep: true })))
    .mul(inverse)
  const width = x.shape[x.rank - 1]
  if (gMean) dx = dx.add(gMean.mul(1 / width))
  if (gInverse)
    dx = dx.sub(
      gInverse
        .mul(inverse.square())
        .mul(normal)
        .mul(1 / width),
    )
  return [dx, overRows(cotangent.mul(normal)), overRows(cotangent)]
}

/**
 * x / sqrt(mean(x²) + epsilon) over the last axis, times `weight` (Zhang & Sennrich 2019).
 * x: [..., width], weight: [width], epsilon default 1e-6. Throws ShapeError.
 */
export const rmsNorm = (x: Tensor, weight: Tensor, { epsilon = 1e-6 }: { epsilon?: number } = {}): Tensor => {
  requireWidth('rmsNorm', x, weight)
  const inverse = scalar(1, x.dtype).div(x.square().mean(-1, { keep: true }).add(epsilon).sqrt())
  return fused('SimplifiedLayerNormalization', [x, weight], [x.mul(inverse).mul(weight), inverse], {
    options: { axis: -1, epsilon: { float: epsilon } },
    gradient: rmsNormGradient,
    again: true,
  })[0]
}

const rmsNormGradient = (
  [g, gInverse]: readonly (Tensor | undefined)[],
  [x, w]: readonly Tensor[],
  [y, inverse]: readonly Tensor[],
): Tensor[] => {
  const normal = x.mul(inverse)
  const cotangent = g ?? zeros(y.shape, y.dtype)
  const h = cotangent.mul(w)
  let dx = h.sub(normal.mul(h.mul(normal).mean(-1, { keep: true }))).mul(inverse)
  if (gInverse)
    dx = dx.sub(
      gInverse
        .mul(inverse.square())
        .mul(normal)
        .mul(1 / x.shape[x.rank - 1]),
    )
  return [dx, overRows(cotangent.mul(normal))]
}
