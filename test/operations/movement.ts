/** @file The table's reductions, movements, joins, indexing and products. */
import { concat, oneHot, stack, type Tensor, type Value, valueOf } from '../../src/tensor/index.js'
import type { Draw } from '../draw.js'
import { all, type Case, numbers, type Operation } from './operation.js'

const along = (
  name: string,
  f: (x: Tensor, axis: number) => Tensor | readonly Tensor[],
  options: Partial<Operation> & { fill?: 'values' | 'apart' } = {},
): Operation => ({
  name,
  make: (d) => {
    const shape = d.shape()
    const axis = d.axis(shape)
    return { inputs: [d[options.fill ?? 'values'](shape)], f: (x) => f(x, axis) }
  },
  dtypes: options.dtypes,
  smooth: false,
  differentiable: options.differentiable,
})

const over = (
  name: string,
  f: (x: Tensor, axes: number[], keep: boolean) => Tensor,
  options: Partial<Operation> = {},
): Operation => ({
  name,
  make: (d) => {
    const shape = d.shape()
    const [axes, keep] = [d.axes(shape), d.bool()]
    return { inputs: [d.apart(shape)], f: (x) => f(x, axes, keep) }
  },
  dtypes: numbers,
  smooth: false,
  ...options,
})

const moved = (name: string, make: (d: Draw) => Case): Operation => ({
  name,
  make,
  dtypes: all,
  smooth: false,
})

/** Data, indices of data's shape but for `axis`, and updates of the shape of the indices. */
const scattered = (d: Draw): { data: number[]; ids: number[]; axis: number } => {
  const width = d.int(1, 4)
  const axis = d.large ? 0 : d.int(0, 1)
  const [rows, count] = [d.int(2, 4) * (d.large ? 64 : 1), d.rows(width)]
  const place = (n: number): number[] => (axis === 0 ? [n, width] : [width, n])
  return { data: place(rows), ids: place(count), axis }
}

export const movement: readonly Operation[] = [
  over('sum', (x, axes, keep) => x.sum(axes, { keep })),
  over('mean', (x, axes, keep) => x.mean(axes, { keep }), { dtypes: ['float32'] }),
  over('max', (x, axes, keep) => x.max(axes, { keep })),
  over('min', (x, axes, keep) => x.min(axes, { keep })),
  along('argMax', (x, axis) => x.argMax(axis), { differentiable: false, dtypes: numbers, fill: 'apart' }),
  along('argMin', (x, axis) => x.argMin(axis), { differentiable: false, dtypes: numbers, fill: 'apart' }),
  along('cumsum', (x, axis) => [x.cumsum(axis), x.cumsum(axis, { reverse: true })], { dtypes: numbers }),
  {
    name: 'topK',
    make: (d) => {
      const shape = d.shape()
      const axis = d.axis(shape)
      const [k, largest] = [d.int(1, Math.min(shape[axis], 4)), d.bool()]
      return { inputs: [d.apart(shape)], f: (x) => Object.values(x.topK(k, { axis, largest })) }
    },
    dtypes: numbers,
    smooth: false,
  },
  along('sort', (x, axis) => Object.values(x.sort(axis)), { fill: 'apart', dtypes: numbers }),
  along('sort descending', (x, axis) => x.sort(axis, { descending: true }).values, {
    fill: 'apart',
    dtypes: numbers,
  }),
  moved('reshape', (d) => {
    const shape = d.shape()
    return { inputs: [d.values(shape)], f: (x) => x.reshape([...shape.slice(1), -1]) }
  }),
  moved('transpose', (d) => {
    const shape = d.shape(2, 4)
    const order = shape.map((_, i) => i)
    for (let i = order.length - 1; i > 0; i--) {
      const j = d.int(0, i)
      ;[order[i], order[j]] = [order[j], order[i]]
    }
    return { inputs: [d.values(shape)], f: (x) => x.transpose(order) }
  }),
  moved('expand', (d) => {
    const [part, whole] = [d.shape(), d.int(1, 3)]
    const shape = part.map((n) => (!d.large && d.bool() ? 1 : n))
    return { inputs: [d.values(shape)], f: (x) => x.expand([whole, ...part]) }
  }),
  moved('slice', (d) => {
    const shape = d.shape()
    const axis = d.axis(shape)
    const start = d.int(0, shape[axis] - 1)
    const [end, step] = [d.int(start + 1, shape[axis]), d.int(1, 3)]
    return { inputs: [d.values(shape)], f: (x) => x.slice(axis, start, end, step) }
  }),
  along('split', (x, axis) => x.split([1, x.shape[axis] - 1], axis).filter((t) => t.size > 0), {
    dtypes: all,
  }),
  along('flip', (x, axis) => x.flip(axis === 0 ? [0] : [0, axis]), { dtypes: all }),
  moved('pad', (d) => {
    const shape = d.shape()
    const room = (): number[] => shape.map(() => d.int(0, 2))
    const [before, after, fill] = [room(), room(), d.int(0, 1)]
    return { inputs: [d.values(shape)], f: (x) => x.pad(before, after, fill) }
  }),
  moved('tile', (d) => {
    const shape = d.shape()
    const times = shape.map(() => d.int(1, d.large ? 1 : 3))
    return { inputs: [d.values(shape)], f: (x) => x.tile(times) }
  }),
  moved('concat', (d) => {
    const shape = d.shape()
    const axis = d.axis(shape)
    const other = shape.map((n, i) => (i === axis ? d.int(1, 3) : n))
    return { inputs: [d.values(shape), d.values(other), d.values(shape)], f: (...x) => concat(x, axis) }
  }),
  moved('stack', (d) => {
    const shape = d.shape()
    const axis = d.int(0, shape.length)
    return { inputs: [d.values(shape), d.values(shape)], f: (...x) => stack(x, axis) }
  }),
  moved('gather', (d) => {
    const [width, count] = [d.int(1, 3), d.int(2, 5)]
    const [axis, rows] = [d.large ? 0 : d.int(0, 1), d.rows(width)]
    const shape = axis === 0 ? [count, width] : [width, count]
    const ids = d.bool() ? [rows] : [rows, 2]
    return { inputs: [d.values(shape), d.ids(ids, count)], f: (x, at) => x.gather(at, axis) }
  }),
  moved('gatherElements', (d) => {
    const { data, ids, axis } = scattered(d)
    return { inputs: [d.values(data), d.ids(ids, data[axis])], f: (x, at) => x.gatherElements(at, axis) }
  }),
  moved('scatter set', (d) => {
    // Distinct indices: which of two updates of one place stays is nobody's promise.
    const width = d.int(1, 4)
    const count = d.rows(width)
    const ids = valueOf(
      d
        .order(count)
        .map((i) => [i, i, i, i].slice(0, width))
        .flat(),
      [count, width],
      'int32',
    )
    return {
      inputs: [d.values([count + 2, width]), ids, d.values([count, width])],
      f: (x, at, u) => x.scatter(at, u, { axis: 0 }),
    }
  }),
  {
    name: 'scatter add',
    make: (d) => {
      const { data, ids, axis } = scattered(d)
      return {
        inputs: [d.values(data), d.ids(ids, data[axis]), d.values(ids)],
        f: (x, at, u) => x.scatter(at, u, { axis, add: true }),
      }
    },
    dtypes: numbers,
    smooth: false,
  },
  {
    name: 'oneHot',
    make: (d) => ({ inputs: [d.ids([d.rows(4), 2], 4)], f: (ids) => oneHot(ids, 4) }),
    differentiable: false,
  },
  {
    name: 'matmul',
    make: (d) => {
      const [n, k, m] = [d.rows(16), d.int(1, 4), d.int(1, 4)]
      const lead = d.pick([
        [[], []],
        [[2], [2]],
        [[2], []],
        [[], [3]],
        [[2, 1], [3]],
        [[1], [2]],
      ] as const)
      const [p, q] = d.large ? [[], []] : lead
      return { inputs: [d.values([...p, n, k]), d.values([...q, k, m])], f: (a, b) => a.matmul(b) }
    },
    dtypes: ['float32', 'int32'],
  },
  {
    name: 'matmul of swapped factors',
    make: (d) => {
      const [n, k, m] = [d.rows(16), d.int(1, 4), d.int(1, 4)]
      const [p, q] = d.pick([
        [[], []],
        [[2], [2]],
        [[2], []],
        [[], [3]],
        [[2, 1], [3]],
      ] as const)
      const [left, right] = d.pick([
        [true, false],
        [false, true],
        [true, true],
      ] as const)
      const factor = (rows: number, columns: number, lead: readonly number[], swapped: boolean): Value =>
        d.values(swapped ? [...lead, columns, rows] : [...lead, rows, columns])
      return {
        inputs: [factor(n, k, p, left), factor(k, m, q, right)],
        f: (a, b) => (left ? a.t() : a).matmul(right ? b.t() : b),
      }
    },
    dtypes: ['float32', 'int32'],
  },
  {
    name: 'product of heads',
    make: (d) => {
      const [batch, time, heads, size] = [d.int(1, 2), d.int(1, 4), d.int(1, 3), d.int(1, 3)]
      const shape = [batch, time, heads, size]
      return {
        inputs: [d.values(shape), d.values(shape)],
        // Transpositions of transpositions, read and not read by products.
        f: (q, k) => {
          const [a, b] = [q, k].map((x) => x.transpose([0, 2, 1, 3]))
          return [a.matmul(b.t()).t(), b.transpose([1, 3, 0, 2])]
        },
      }
    },
  },
]
