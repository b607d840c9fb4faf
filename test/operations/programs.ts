/** @file The table's operations around other operations: branches, custom rules, host functions, recomputation, dropout. */
import {
  cond,
  dropout,
  hostOperation,
  mapRows,
  RandomStreams,
  recompute,
  recomputeWhen,
  stopGradient,
  sumRows,
  type Tensor,
  toNumbers,
  valueOf,
  withGradient,
} from '../../src/tensor/index.js'
import type { Draw } from '../draw.js'
import type { Operation } from './operation.js'

const squared = (x: Tensor): Tensor =>
  hostOperation(
    [x],
    [x],
    ([v]) => [
      valueOf(
        toNumbers(v).map((n) => n * n),
        v.shape,
        v.dtype,
      ),
    ],
    {
      name: 'square',
      gradient: ([g], [t]) => [g.mul(t).mul(2)],
    },
  )[0]

/** Rows of which some count, a matrix that stands behind them, and how many go into a chunk. */
const rowsFor = (d: Draw) => {
  const [batch, width, out] = [d.int(1, 3), d.width(1, 4), d.width(1, 4)]
  const time = d.large ? Math.ceil(d.rows(width) / batch) : d.int(1, 5)
  const chunk = d.large ? 40_000 : d.int(1, batch * time + 1)
  return {
    chunk,
    inputs: [
      d.bools([batch, time]),
      d.values([batch, time, width]),
      d.values([out, width]),
      d.values([batch, time]),
    ],
  }
}

export const programs: readonly Operation[] = [
  {
    name: 'cond',
    make: (d) => {
      const shape = d.shape()
      return {
        inputs: [d.bools([]), d.values(shape), d.values(shape)],
        f: (p, a, b) =>
          cond(
            p,
            () => [a.mul(b).sin(), a.square()],
            () => [b.exp(), a.mul(3)],
          ),
      }
    },
  },
  {
    name: 'mapRows',
    make: (d) => {
      const { inputs, chunk } = rowsFor(d)
      return {
        inputs,
        f: (counted, x, w, shift) =>
          mapRows((x, shift) => [x.matmul(w.t()).tanh(), x.square().sum(-1).add(shift)], [x, shift], {
            counted,
            chunk,
          }),
      }
    },
  },
  {
    name: 'sumRows',
    make: (d) => {
      const { inputs, chunk } = rowsFor(d)
      return {
        inputs,
        f: (counted, x, w, shift) =>
          sumRows((x, shift) => x.matmul(w.t()).tanh().sum(-1).mul(shift), [x, shift], { counted, chunk }),
      }
    },
  },
  {
    name: 'hostOperation',
    // The function is ours, and no kernel: a large case of it would try nothing but patience.
    make: (d) => ({ inputs: [d.values(d.large ? [9] : d.shape())], f: (x) => squared(x.sin()).mul(x) }),
    unmapped: 'a host function has one shape',
  },
  {
    name: 'recompute',
    make: (d) => {
      const shape = d.shape()
      return {
        inputs: [d.values(shape), d.values(shape)],
        f: (x, w) => recompute((t, u) => t.mul(u).tanh().mul(t.cos()), x.mul(2), w),
      }
    },
  },
  {
    name: 'recomputeWhen',
    make: (d) => {
      const shape = d.shape()
      return {
        inputs: [d.values(shape), d.values(shape)],
        f: (x, w) =>
          recomputeWhen(
            (y) => y.sum().less(1e30),
            (t) => t.mul(w).tanh().mul(t.cos()),
            x.mul(2),
          ),
      }
    },
  },
  {
    name: 'withGradient',
    make: (d) => ({
      inputs: [d.values(d.shape())],
      f: (x) =>
        withGradient(
          (t) => t.sin(),
          (g, [t]) => [g.mul(t.cos())],
        )(x.mul(0.7)).mul(x),
    }),
  },
  {
    name: 'stopGradient',
    make: (d) => ({ inputs: [d.values(d.shape())], f: (x) => stopGradient(x).add(x) }),
    smooth: false,
    differentiable: false,
  },
  {
    name: 'dropout',
    make: (d) => ({ inputs: [d.values(d.shape())], f: (x) => dropout(x, 0.25, new RandomStreams()).mul(x) }),
    unmapped: 'rows have bytes of their own',
  },
]
