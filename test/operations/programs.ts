/** @file The table's operations around other operations: branches, custom rules, host functions, recomputation, dropout. */
import {
  cond,
  dropout,
  hostOperation,
  RandomStreams,
  recompute,
  stopGradient,
  type Tensor,
  toNumbers,
  valueOf,
  withGradient,
} from '../../src/tensor/index.js'
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
