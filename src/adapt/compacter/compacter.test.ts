import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { changed, countOf, gap, logitsOf, noisy } from '../../../test/adapter.js'
import { goldenFolder } from '../../../test/golden.js'
import { scratchFolder } from '../../../test/tiny.js'
import { type Checkpoint, diskFiles, open, openFile } from '../../checkpoint/index.js'
import { CheckpointError } from '../../errors.js'
import { matrix, svd } from '../../linalg/index.js'
import { type Model, openModel } from '../../models/index.js'
import { t5 } from '../../models/t5.js'
import { Stream } from '../../random/index.js'
import { compile, grad, type Tensor, toNumbers, type Value, valueOf } from '../../tensor/index.js'
import { modelLoss } from '../../train/index.js'
import { compacter, houlsby, kroneckerProduct, kroneckerSum, loadAdapter, toHoulsby } from '../index.js'
import type { AdaptedModel } from '../core/spec.js'
import { sizeOf } from '../../tensor/shape.js'

let scratch: Awaited<ReturnType<typeof scratchFolder>>
let base: Checkpoint
beforeAll(async () => {
  scratch = await scratchFolder()
  base = await open(goldenFolder('llama'))
})
afterAll(async () => {
  await base.close()
  await scratch.remove()
})

const random = (seed: string, shape: readonly number[]): Value => {
  const stream = new Stream(seed)
  const count = sizeOf(shape)
  return valueOf(
    Array.from({ length: count }, () => stream.normal()),
    [...shape],
  )
}

/** What `f` makes of values. */
const computed = async <T extends Record<string, Value>>(
  f: (inputs: Record<keyof T, Tensor>) => Tensor,
  inputs: T,
): Promise<Float64Array> => {
  const program = await compile(f as never, inputs as never)
  return toNumbers((await program.run(inputs as never)) as Value)
}

const norm = (a: Float64Array): number => Math.sqrt(a.reduce((sum, x) => sum + x * x, 0))
const relative = (a: Float64Array, b: Float64Array): number => norm(a.map((x, i) => x - b[i])) / norm(b)

/** Random factors of a projection. */
const factors = (n: number, from: number, to: number, rank: number) => ({
  x: random('x', [5, from]),
  A: random('A', [n, n, n]),
  s: random('s', [n, from / n, rank]),
  t: random('t', [n, rank, to / n]),
})

describe('Kronecker sums', () => {
  it.each([
    [64, 16, 4, 1],
    [16, 64, 4, 1],
    [768, 24, 4, 1],
    [768, 24, 12, 1],
    [64, 16, 4, 2],
  ])(
    'from %i to %i, n = %i, rank %i: applied without the matrix they give the same, gradients too',
    async (from, to, n, rank) => {
      const given = factors(n, from, to, rank)
      type In = Record<keyof typeof given, Tensor>
      const implicit = ({ x, A, s, t }: In): Tensor => kroneckerProduct(x, A, s, t)
      const explicit = ({ x, A, s, t }: In): Tensor => x.matmul(kroneckerSum(A, s.matmul(t)))
      expect(relative(await computed(implicit, given), await computed(explicit, given))).toBeLessThan(1e-6)
      for (const name of ['x', 'A', 's', 't'] as const) {
        const slope = (f: (inputs: In) => Tensor) => (inputs: In) =>
          grad((v: Tensor) =>
            f({ ...inputs, [name]: v })
              .square()
              .sum(),
          )(inputs[name])
        const [a, b] = await Promise.all([implicit, explicit].map((f) => computed(slope(f), given)))
        expect(relative(a, b)).toBeLessThan(2e-6)
      }
    },
  )

  it('have at (a P + p, c Q + q) the sum of A[a, c] B[p, q]', async () => {
    const [A, B] = [random('A', [2, 2, 2]), random('B', [2, 3, 5])]
    const W = await computed(({ A, B }) => kroneckerSum(A, B), { A, B })
    for (const [a, p, c, q] of [
      [0, 0, 0, 0],
      [1, 2, 0, 3],
      [0, 1, 1, 4],
      [1, 0, 1, 2],
    ]) {
      const terms = [0, 1].map(
        (i) => Number(A.data[(i * 2 + a) * 2 + c]) * Number(B.data[(i * 3 + p) * 5 + q]),
      )
      expect(W[(a * 3 + p) * 10 + c * 5 + q]).toBeCloseTo(terms[0] + terms[1], 5)
    }
  })

  it('of the rules of quaternions multiply by a quaternion', async () => {
    // Row a of A_i: which part of x q the product of unit a of x and unit i of q is, and with which sign.
    const units = [
      [
        [1, 0, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [0, 0, 0, 1],
      ],
      [
        [0, 1, 0, 0],
        [-1, 0, 0, 0],
        [0, 0, 0, -1],
        [0, 0, 1, 0],
      ],
      [
        [0, 0, 1, 0],
        [0, 0, 0, 1],
        [-1, 0, 0, 0],
        [0, -1, 0, 0],
      ],
      [
        [0, 0, 0, 1],
        [0, 0, -1, 0],
        [0, 1, 0, 0],
        [-1, 0, 0, 0],
      ],
    ]
    const A = valueOf(units.flat(2), [4, 4, 4])
    const [x, q] = [random('x', [1, 4]), random('q', [4, 1, 1])]
    const own = await computed(({ x, A, q }) => x.matmul(kroneckerSum(A, q)), { x, A, q })
    const [[a, b, c, d], [e, f, g, h]] = [x, q].map((v) => [...toNumbers(v)])
    const product = [
      a * e - b * f - c * g - d * h,
      a * f + b * e + c * h - d * g,
      a * g - b * h + c * e + d * f,
      a * h + b * g - c * f + d * e,
    ]
    product.forEach((expected, i) => expect(own[i]).toBeCloseTo(expected, 5))
  })

  it.each([
    [64, 32, 4, 16],
    [48, 24, 12, 24],
  ])('of n matrices of rank one have rank at most n²: %i x %i, n = %i', async (from, to, n, expected) => {
    const W = await computed(({ A, s, t }) => kroneckerSum(A, s.matmul(t)), factors(n, from, to, 1))
    const { s } = svd(matrix(from, to, W))
    expect([...s].filter((x) => x > 1e-5 * s[0])).toHaveLength(expected)
  })
})

const k = 32
const b = 8
const places = 2 * 3
/** Of the golden Llama: two norms a block, and a last. */
const norms = (2 * 3 + 1) * k

describe('the numbers of the family', () => {
  it.each([
    ['Compacter', {}, places * (2 * (k + b) + k + b) + 64],
    ['Compacter++', { placement: 'feed-forward' }, 3 * (2 * (k + b) + k + b) + 64],
    ['the PHM adapter', { slow: 'own', rank: 'full' }, places * ((2 * k * b) / 4 + k + b + 2 * 64)],
    ['the low-rank adapter', { divisions: 1 }, places * (2 * (k + b) + k + b)],
    ['the dense adapter', { divisions: 1, rank: 'full' }, places * (2 * k * b + k + b)],
  ] as const)('%s', async (_, options, expected) => {
    expect(countOf(await compacter(base, { bottleneck: b, norms: false, ...options }))).toBe(expected)
    expect(countOf(await compacter(base, { bottleneck: b, ...options }))).toBe(expected + norms)
  })

  it('are those of T5-base', async () => {
    const config = { num_layers: 12, d_model: 768, d_kv: 64, d_ff: 3072, num_heads: 12 }
    const checkpoint = { folder: 'T5-base', config }
    const large = {
      architecture: t5,
      config: t5.readConfig(config),
      checkpoint,
      parameters: {},
    } as unknown as Model
    expect(await compacter.count(large)).toBe(161_728)
    expect(await compacter.count(large, { placement: 'feed-forward' })).toBe(104_704)
    expect(await compacter.count(large, { norms: false })).toBe(48 * 2_376 + 64)
    const all = t5.table(large.config as never).filter(({ tied }) => tied === undefined)
    const total = all.reduce((n, { shape }) => n + sizeOf(shape), 0)
    expect((100 * 161_728) / total).toBeCloseTo(0.073, 3)
    expect((100 * 104_704) / total).toBeCloseTo(0.047, 3)
  })
})

describe('compacter', () => {
  it('with n = 1 and full factors is the dense adapter', async () => {
    const own = noisy(await compacter(base, { divisions: 1, rank: 'full', bottleneck: b, norms: false }))
    const dense = await houlsby(base, { bottleneck: b, activation: 'gelu_new' })
    const turned = ({ data, shape: [, rows, columns] }: Value): Value =>
      valueOf(
        Array.from({ length: rows * columns }, (_, i) =>
          Number(data[(i % rows) * columns + Math.floor(i / rows)]),
        ),
        [columns, rows],
      )
    const values = Object.entries(own.parameters).map(([name, v]) =>
      name.endsWith('full') ? [name.replace('full', 'weight'), turned(v)] : [name, v],
    )
    const same = dense.with(Object.fromEntries(values) as Record<string, Value>)
    expect(gap(await logitsOf(own), await logitsOf(same))).toBeLessThan(1e-6)
  })

  it('without one factor of its second projection is the base to the bit', async () => {
    const model = noisy(await compacter(base, { norms: false }))
    const silent = changed(model, (old, name) => (/up\.(left|bias)/.test(name) ? old.fill(0) : old))
    expect(await logitsOf(silent)).toEqual(await logitsOf(await openModel(base)))
  })

  it('shares its slow weights: their gradient is the sum of those of weights of their own', async () => {
    const shared = noisy(await compacter(base, { norms: false }))
    const apart = await compacter(base, { norms: false, slow: 'own' })
    const rule = toNumbers(shared.parameters.phm_rule)
    const copied = changed(apart, (_, name) =>
      name.endsWith('.rule') ? rule : toNumbers(shared.parameters[name]),
    )
    const [one, many] = await Promise.all([gradientsOf(shared), gradientsOf(copied)])
    const sum = new Float64Array(64)
    for (const [name, g] of Object.entries(many))
      if (name.endsWith('.rule')) toNumbers(g).forEach((x, i) => (sum[i] += x))
    expect(norm(sum)).toBeGreaterThan(0.01)
    expect(relative(toNumbers(one.phm_rule), sum)).toBeLessThan(1e-5)
  })

  it.each([{}, { slow: 'own', rank: 'full' }, { divisions: 1, placement: 'feed-forward' }] as const)(
    'multiplied out is an ordinary adapter that does the same: %j',
    async (options) => {
      const model = noisy(await compacter(base, options))
      const dense = await toHoulsby(model)
      expect(gap(await logitsOf(dense), await logitsOf(model))).toBeLessThan(1e-6)
      const folder = join(scratch.path, JSON.stringify(options).replace(/\W/g, ''), 'dense')
      await dense.save(folder)
      expect(await logitsOf(await loadAdapter(base, folder))).toEqual(await logitsOf(dense))
    },
  )

  it('takes four bytes a number in its file', async () => {
    const model = await compacter(base)
    const folder = join(scratch.path, 'bytes')
    await model.save(folder)
    await using file = await openFile(diskFiles(folder), 'adapter_model.safetensors')
    const bytes = file.names().reduce((n, name) => n + file.info(name).shape.reduce((a, b) => a * b, 4), 0)
    expect(bytes).toBe(4 * countOf(model))
  })

  it('stands behind self-attention and feed-forward parts, not behind the attention between them', async () => {
    await using encoderDecoder = await open(goldenFolder('t5'))
    const model = await compacter(encoderDecoder, { norms: false })
    expect(model.plan.sites).toHaveLength(2 * 2 + 2 * 2)
    expect(model.plan.sites.filter(({ site }) => site.name.includes('EncDec'))).toEqual([])
  })
})

const gradientsOf = async ({ parameters, ...model }: AdaptedModel): Promise<Record<string, Value>> => {
  const ids = valueOf([3, 1, 4, 1, 5, 9, 2, 6], [2, 4], 'int32')
  const loss = modelLoss({ parameters, ...model })
  const program = await compile(
    ({ p, ids }: { p: Record<string, Tensor>; ids: Tensor }) =>
      grad((p: Record<string, Tensor>) => loss(p, { ids, labels: ids }, {}).loss)(p),
    { p: { ...parameters }, ids },
  )
  return program.run({ p: { ...parameters }, ids } as never)
}

describe('what it refuses', () => {
  it.each([
    [{ bottleneck: 24, divisions: 32 }, /bottleneck 24 is not divisible by n=32; legal n: 1,2,4,8/],
    [{ divisions: 5 }, /width 32 is not divisible by n=5; legal n: 1,2,4,8,16,32/],
    [{ reduction: 16 }, /bottleneck 2 is not divisible by n=4; legal n: 1,2/],
    [{ reduction: 1000 }, /bottleneck 1 is not divisible by n=4; legal n: 1/],
  ])('%j', async (options, message) => {
    const attempt = compacter(base, options)
    await expect(attempt).rejects.toMatchObject({ code: 'BadDivisions' })
    await expect(attempt).rejects.toThrow(message)
  })

  it('a placement that there is not, and a model without parts', async () => {
    await expect(compacter(base, { placement: 'head' as never })).rejects.toMatchObject({ code: 'BadOption' })
    await using resnet = await open(goldenFolder('resnet'))
    await expect(compacter(resnet)).rejects.toThrow(/resnet has no attention or feed-forward part/)
  })

  it('to be folded: an adapter is no linear map', async () => {
    await expect((await compacter(base)).fold(join(scratch.path, 'folded'))).rejects.toMatchObject({
      code: 'CannotFold',
    })
  })

  it('a saved adapter without its slow weights, or of another n', async () => {
    const folder = join(scratch.path, 'own')
    await (await compacter(base, { slow: 'own' })).save(folder)
    const { readFile, writeFile } = await import('node:fs/promises')
    const config = join(folder, 'adapter_config.json')
    const json = JSON.parse(await readFile(config, 'utf8')) as Record<string, unknown>
    for (const wrong of [{ slow: 'shared' }, { divisions: 2 }]) {
      await writeFile(config, JSON.stringify({ ...json, ...wrong }))
      await expect(loadAdapter(base, folder)).rejects.toThrow(CheckpointError)
    }
  })
})
