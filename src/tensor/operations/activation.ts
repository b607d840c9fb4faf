/** @file Activations and the softmax family. Any shape; the softmaxes work along one axis. */
import { heldBack } from '../again.js'
import { fused } from '../control.js'
import { WeftError, nearest } from '../../errors.js'
import { scalar, stopGradient } from '../create.js'
import { normalAxis } from '../shape.js'
import type { Tensor } from '../tensor.js'

/** Rectified linear unit max(x, 0); its gradient at 0 is 0. x: [...]. */
export const relu = (x: Tensor): Tensor => x.maximum(0)

const root = Math.sqrt(2 / Math.PI)
const steep = 0.044715 * root

const geluBody = (x: Tensor, tanh: boolean): Tensor => {
  if (!tanh) return x.mul(x.mul(Math.SQRT1_2).erf().add(1)).mul(0.5)
  const inner = x.square().mul(steep).add(root).mul(x)
  return x.mul(inner.tanh().add(1)).mul(0.5)
}

/**
 * Its derivative: Φ + x φ exactly; of the approximation x σ(z), z = 2 √(2/π) (x + c x³), it is σ (1 + x z' (1 - σ)).
 */
const geluSlope = (x: Tensor, tanh: boolean): Tensor => {
  if (!tanh) {
    const u = x.mul(Math.SQRT1_2)
    const density = u.square().neg().exp().mul(u)
    return u
      .erf()
      .add(density.mul(2 / Math.sqrt(Math.PI)))
      .mul(0.5)
      .add(0.5)
  }
  const cube = x.square().mul(2 * steep)
  const s = cube
    .add(2 * root)
    .mul(x)
    .sigmoid()
  const slope = cube.mul(3).add(2 * root)
  return scalar(1, x.dtype).sub(s).mul(slope.mul(x)).add(1).mul(s)
}

/**
 * Gaussian error linear unit x Φ(x) (Hendrycks & Gimpel 2016), exactly by erf, or with `tanh` by its approximation.
 * Of a forward pass only x is kept for the backward one. x: [...].
 */
export const gelu = (x: Tensor, { tanh = false }: { tanh?: boolean } = {}): Tensor =>
  fused('Gelu', [x], [geluBody(x, tanh)], {
    options: { approximate: tanh ? 'tanh' : 'none' },
    gradient: ([g], [given]) => [g!.mul(geluSlope(given, tanh))],
    batch: ([t]) => [gelu(t, { tanh })],
    again: true,
  })[0]

/** x σ(a x): of a forward pass only x is kept for the backward one. */
const swish = (x: Tensor, a: number): Tensor =>
  fused('QuickGelu', [x], [x.mul(a === 1 ? x.sigmoid() : x.mul(a).sigmoid())], {
    options: { alpha: { float: a } },
    gradient: ([g], [given]) => {
      const z = heldBack(given, g!).mul(a)
      const s = z.sigmoid()
      return [scalar(1, x.dtype).sub(s).mul(z).add(1).mul(s).mul(g!)]
    },
    batch: ([t]) => [swish(t, a)],
    again: true,
  })[0]

/** Sigmoid linear unit x σ(x), also called swish. x: [...]. */
export const silu = (x: Tensor): Tensor => swish(x, 1)

/** The activations by the names that config.json uses. */
export const activations: Readonly<Record<string, (x: Tensor) => Tensor>> = {
  relu,
  gelu: (x) => gelu(x),
  gelu_new: (x) => gelu(x, { tanh: true }),
  gelu_pytorch_tanh: (x) => gelu(x, { tanh: true }),
  gelu_fast: (x) => gelu(x, { tanh: true }),
  gelu_accurate: (x) => gelu(x, { tanh: true }),
  gelu_python: (x) => gelu(x),
  gelu_python_tanh: (x) => gelu(x, { tanh: true }),
  quick_gelu: (x) => swish(x, 1.702),
  silu,
  swish: silu,
  tanh: (x) => x.tanh(),
  sigmoid: (x) => x.sigmoid(),
  linear: (x) => x,
  relu2: (x) => relu(x).square(),
  relu6: (x) => relu(x).minimum(6),
}

/** The activation that config.json calls `name`. Throws WeftError (UnknownActivation) for another name. */
export const activation = (name: string): ((x: Tensor) => Tensor) => {
  const f = Object.hasOwn(activations, name) ? activations[name] : undefined
  if (f) return f
  throw new WeftError('UnknownActivation', `no activation is called '${name}'`, {
    hint: `Nearest: ${nearest(name, Object.keys(activations)).join(', ')}.`,
  })
}

/**
 * Softmax exp(x) / Σ exp(x) along `axis`, without overflow. x: [...]. Throws ShapeError for an axis that is not
 * there.
 */
export const softmax = (x: Tensor, axis = -1): Tensor => {
  const at = normalAxis('softmax', axis, x.rank)
  const e = x.sub(x.max(at, { keep: true })).exp()
  return fused('Softmax', [x], [e.div(e.sum(at, { keep: true }))], {
    options: { axis: at },
    gradient: ([g], _, [y]) => [y.mul(g!.sub(g!.mul(y).sum(at, { keep: true })))],
    batch: ([t]) => [softmax(t, at + 1)],
  })[0]
}

/**
 * Logarithm of the softmax along `axis`, without overflow. x: [...]. Throws ShapeError for an axis that is not there.
 */
export const logSoftmax = (x: Tensor, axis = -1): Tensor => {
  const at = normalAxis('logSoftmax', axis, x.rank)
  return fused('LogSoftmax', [x], [x.sub(logSumExp(x, at, { keep: true }))], {
    options: { axis: at },
    gradient: ([g], _, [y]) => [g!.sub(y.exp().mul(g!.sum(at, { keep: true })))],
    batch: ([t]) => [logSoftmax(t, at + 1)],
  })[0]
}

/** Logarithm of Σ exp(x) along `axis`, without overflow. x: [...]. Throws ShapeError for an axis that is not there. */
export const logSumExp = (x: Tensor, axis = -1, { keep = false }: { keep?: boolean } = {}): Tensor => {
  const at = normalAxis('logSumExp', axis, x.rank)
  const top = stopGradient(x.max(at, { keep: true }))
  const out = x.sub(top).exp().sum(at, { keep: true }).log().add(top)
  return keep ? out : out.squeeze(at)
}
