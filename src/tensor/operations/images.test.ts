import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Stream } from '../../random/index.js'
import {
  adaptiveAveragePool2d,
  averagePool1d,
  averagePool2d,
  compile,
  globalAveragePool2d,
  grad,
  interpret,
  maxPool1d,
  maxPool2d,
  resize,
  type Shape,
  sizeOf,
  type Tensor,
  tensor,
  toNumbers,
  type Value,
  valueOf,
} from '../index.js'
import { maxOf } from '../numbers.js'

const normals = (seed: string, shape: Shape): Value => {
  const stream = new Stream(seed)
  return valueOf(
    Array.from({ length: sizeOf(shape) }, () => stream.normal()),
    shape,
  )
}

const numbersOf = async (t: Tensor): Promise<number[]> => [...(await interpret([t], { inputs: {} }))[0]]
const rounded = (numbers: readonly number[]): number[] => numbers.map((x) => Math.round(x * 1e6) / 1e6)
const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

const agrees = async (f: (x: Tensor) => Tensor, x: Value): Promise<number> => {
  const cpu = await compile(f, x)
  const reference = await compile(f, x, { device: 'reference' })
  const [a, b] = [toNumbers(await cpu.run(x)), toNumbers(await reference.run(x))]
  a.forEach((n, i) => expect(Math.abs(n - b[i])).toBeLessThan(2e-6 * (1 + Math.abs(b[i]))))
  expect(a.length).toBe(b.length)
  return cpu.nodes
}

const windows = fc
  .record({
    kernel: fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 3 })),
    stride: fc.integer({ min: 1, max: 3 }),
    dilation: fc.integer({ min: 1, max: 2 }),
    padded: fc.boolean(),
    seed: fc.string({ maxLength: 3 }),
    extra: fc.tuple(fc.nat(4), fc.nat(4)),
  })
  .map(({ kernel, padded, extra, dilation, ...rest }) => ({
    ...rest,
    kernel,
    dilation,
    padding: (padded ? [kernel[0] >> 1, kernel[1] >> 1] : [0, 0]) as [number, number],
    size: [dilation * (kernel[0] - 1) + 1 + extra[0], dilation * (kernel[1] - 1) + 1 + extra[1]],
  }))

/** Every window's elements inside the image, one list a window. */
const windowsOf = (
  x: Value,
  {
    kernel,
    stride,
    dilation,
    padding,
  }: { kernel: readonly number[]; stride: number; dilation: number; padding: readonly number[] },
): number[][] => {
  const [batch, channels, height, width] = x.shape
  const count = (size: number, axis: number): number =>
    Math.floor((size + 2 * padding[axis] - dilation * (kernel[axis] - 1) - 1) / stride) + 1
  const at = (plane: number, i: number, j: number): number[] =>
    i < 0 || j < 0 || i >= height || j >= width ? [] : [Number(x.data[(plane * height + i) * width + j])]
  return upTo(batch * channels).flatMap((plane) =>
    upTo(count(height, 0)).flatMap((i) =>
      upTo(count(width, 1)).map((j) =>
        upTo(kernel[0]).flatMap((p) =>
          upTo(kernel[1]).flatMap((q) =>
            at(plane, i * stride - padding[0] + p * dilation, j * stride - padding[1] + q * dilation),
          ),
        ),
      ),
    ),
  )
}

describe('maxPool2d', () => {
  it('is the greatest element of every window, by one kernel', async () => {
    await fc.assert(
      fc.asyncProperty(windows, async ({ kernel, size, seed, ...options }) => {
        const x = normals(seed, [2, 2, ...size])
        const f = (t: Tensor): Tensor => maxPool2d(t, kernel, options)
        const expected = windowsOf(x, { kernel, ...options }).map((w) => maxOf(w))
        const reference = await compile(f, x, { device: 'reference' })
        expect([...toNumbers(await reference.run(x))]).toEqual(expected)
        expect(await agrees(f, x)).toBe(1)
      }),
      { numRuns: 20 },
    )
  })

  it('sends the gradient to the first of equal elements', async () => {
    const x = tensor([1, 5, 5, 2, 5, 0, 3, 3, 3], [1, 1, 3, 3])
    const g = grad((t: Tensor) =>
      maxPool2d(t, 2, { stride: 1 })
        .mul(tensor([1, 2, 3, 4], [1, 1, 2, 2]))
        .sum(),
    )(x)
    // Windows: {1,5,2,5}, {5,5,5,0}, {2,5,3,3}, {5,0,3,3}.
    expect(await numbersOf(g)).toEqual([0, 3, 0, 0, 7, 0, 0, 0, 0])
  })

  it('has the same gradient on the CPU as in the interpreter', async () => {
    const f = (x: Tensor): Tensor =>
      grad((t: Tensor) => maxPool2d(t, 3, { stride: 2, padding: 1 }).square().sum())(x)
    await agrees(f, normals('g', [2, 3, 7, 6]))
  })

  it('refuses padding of more than half the kernel, and windows that do not fit', () => {
    const x = tensor(upTo(9), [1, 1, 3, 3])
    expect(() => maxPool2d(x, 2, { padding: 2 })).toThrow(/maxPool2d: .*padding of at most half the kernel/)
    expect(() => maxPool2d(x, 4)).toThrow(/kernel \[4,4\] does not fit in \[1, 1, 3, 3\]/)
    expect(() => maxPool2d(x.squeeze(0), 2)).toThrow(/\[1, 3, 3\] is not \[batch/)
  })

  it('pools along one axis', async () => {
    const x = tensor([1, 4, 2, 8, 5, 7], [1, 1, 6])
    expect(await numbersOf(maxPool1d(x, 2))).toEqual([4, 8, 7])
    expect(await numbersOf(averagePool1d(x, 3, { stride: 1 }))).toEqual(
      [7, 14, 15, 20].map((n) => expect.closeTo(n / 3, 6) as number),
    )
  })
})

describe('averagePool2d', () => {
  it('is the mean of every window, padding counted or not', async () => {
    await fc.assert(
      fc.asyncProperty(windows, fc.boolean(), async ({ kernel, size, seed, ...options }, countPadding) => {
        const x = normals(seed, [2, 2, ...size])
        const f = (t: Tensor): Tensor => averagePool2d(t, kernel, { ...options, countPadding })
        const expected = windowsOf(x, { kernel, ...options }).map(
          (w) => w.reduce((a, b) => a + b, 0) / (countPadding ? kernel[0] * kernel[1] : w.length),
        )
        const reference = await compile(f, x, { device: 'reference' })
        toNumbers(await reference.run(x)).forEach((n, i) => expect(n).toBeCloseTo(expected[i], 6))
        await agrees(f, x)
      }),
      { numRuns: 20 },
    )
  })

  it('averages over regions of a given output size', async () => {
    const x = tensor(upTo(15), [1, 1, 3, 5])
    // PyTorch: nn.functional.adaptive_avg_pool2d(torch.arange(15.).view(1, 1, 3, 5), (2, 3)).
    expect(rounded(await numbersOf(adaptiveAveragePool2d(x, [2, 3])))).toEqual([3, 4.5, 6, 8, 9.5, 11])
    expect(rounded(await numbersOf(adaptiveAveragePool2d(x, 1)))).toEqual([7])
    expect(rounded(await numbersOf(globalAveragePool2d(x)))).toEqual([7])
  })
})

describe('resize', () => {
  const x = tensor([1, 2, 3, 4], [1, 1, 2, 2])

  it('takes the nearest pixel', async () => {
    expect(await numbersOf(resize(x, [3, 4]))).toEqual([1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4])
    expect(await numbersOf(resize(tensor(upTo(10), [1, 1, 1, 10]), [1, 3]))).toEqual([0, 3, 6])
  })

  it('interpolates between pixel centres, or with corners aligned', async () => {
    // PyTorch: interpolate(x, size=(4, 4), mode='bilinear', align_corners=False), and its align_corners=True.
    const half = [1, 1.25, 1.75, 2]
    expect(rounded(await numbersOf(resize(x, [4, 4], { mode: 'bilinear' })))).toEqual(
      [0, 0.5, 1.5, 2].flatMap((down) => half.map((a) => a + down)),
    )
    expect(rounded(await numbersOf(resize(x, [3, 3], { mode: 'bilinear', alignCorners: true })))).toEqual([
      1, 1.5, 2, 2, 2.5, 3, 3, 3.5, 4,
    ])
    expect(rounded(await numbersOf(resize(x, [1, 1], { mode: 'bilinear', alignCorners: true })))).toEqual([1])
    // Its mode='bicubic'.
    const image = tensor([1, 4, -2, 0, 3, 5, 7, -1, 2], [1, 1, 3, 3])
    const cubic = await numbersOf(resize(image, [2, 4], { mode: 'bicubic' }))
    const reference = [0.284254, 3.157568, 2.764498, -0.611685, 5.774242, 1.520245, 0.366749, 3.145039]
    cubic.forEach((value, i) => expect(value).toBeCloseTo(reference[i], 5))
    expect(await numbersOf(resize(image, [3, 3], { mode: 'bicubic' }))).toEqual([1, 4, -2, 0, 3, 5, 7, -1, 2])
  })

  it('keeps an image of its own size, and constants at any size', async () => {
    for (const options of [{}, { mode: 'bilinear' }, { mode: 'bilinear', alignCorners: true }] as const) {
      const image = normals('i', [1, 2, 5, 3])
      const same = await compile((t: Tensor) => resize(t, [5, 3], options), image, { device: 'reference' })
      expect(toNumbers(await same.run(image))).toEqual(toNumbers(image))
      const flat = await numbersOf(resize(x.mul(0).add(7), [5, 3], options))
      flat.forEach((n) => expect(n).toBeCloseTo(7, 5))
    }
  })

  it('agrees with the interpreter, gradient included', async () => {
    for (const mode of ['nearest', 'bilinear', 'bicubic'] as const) {
      const image = normals('i', [2, 2, 5, 4])
      await agrees((t) => resize(t, [7, 3], { mode }), image)
      await agrees((t) => grad((u: Tensor) => resize(u, [7, 3], { mode }).square().sum())(t), image)
    }
  })
})
