import { execFile } from 'node:child_process'
import { readdir, rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'
import { everything } from '../tensor/graph.js'
import { bundleForNode } from '../../test/bundle.js'
import { batchOf, distanceInNorm, norm } from '../../test/golden-case.js'
import { goldenFolder } from '../../test/golden.js'
import { opened } from '../../test/opened.js'
import { adapterRows, lora, mixed, prompt } from '../adapt/index.js'
import { headOf, logitsBy, type Model, openModel, type Trace } from '../models/index.js'
import { Stream } from '../random/index.js'
import {
  compile,
  crossEntropy,
  dropout,
  input,
  interpret,
  type Node,
  RandomStreams,
  reachable,
  sumRows,
  type Tensor,
  tensor,
  toNumbers,
  type Value,
  valueAndGrad,
  valueOf,
} from '../tensor/index.js'
import { maxOf } from '../tensor/numbers.js'
import { causalLoss, forward } from './loss.js'
import { eachRow, sumOfRows } from './rows.js'

const branchesOf = (node: Node): readonly Tensor[] => {
  const { then, otherwise } = (node as Node<'cond'>).attributes
  return [...then.outputs, ...otherwise.outputs]
}

type Named<T> = Record<string, T>

const cost = (logits: Tensor, labels: Tensor): Tensor => crossEntropy(logits, labels, { reduction: 'none' })

/** The summed cross-entropy and its gradients, with logits made whole or `chunk` rows at a time. */
const summed = (
  model: Model,
  parameters: Named<Tensor>,
  { labels, ...batch }: Named<Tensor>,
  chunk: number | undefined,
  random?: RandomStreams,
) =>
  valueAndGrad((own: Named<Tensor>) => {
    const { logits } = forward(model, own, batch)
    const rows = { given: [labels], counted: labels.notEqual(-100), chunk }
    return sumOfRows(cost, { ...rows, logits: chunk ? logits : logits.mul(1) }, random && { random })
  })(parameters)

const symbolsOf = (values: Readonly<Named<Value>>): Named<Tensor> =>
  Object.fromEntries(Object.entries(values).map(([name, v]) => [name, input(name, v.shape, v.dtype)]))

/** Labels of which every third counts, and of the last sequence none. */
const sparse = (labels: Value): Value => {
  const [rows, time] = labels.shape
  const kept = Array.from(labels.data, Number).map((label, i) =>
    i % 3 === 1 && i < (rows - 1) * time ? Math.max(0, label) : -100,
  )
  return valueOf(kept, labels.shape, 'int32')
}

const goldens = async (): Promise<string[]> => {
  const entries = await readdir(goldenFolder(), { withFileTypes: true })
  const names: string[] = []
  for (const { name } of entries.filter((entry) => entry.isDirectory())) {
    const files = await readdir(goldenFolder(name))
    if (files.includes('config.json') && files.includes('golden.safetensors')) names.push(name)
  }
  return names
}

const golden = async (name: string): Promise<{ model: Model; batch: Named<Value> } | undefined> => {
  const checkpoint = await opened(goldenFolder(name))
  const model = await openModel(checkpoint, { trainable: true })
  const task = model.architecture.task(model.config)
  const saved = await opened(goldenFolder(name, 'golden.safetensors'))
  if (!saved.has('labels')) return undefined
  const { inputs, labels } = await batchOf(saved, task, checkpoint.config)
  const { mask, ...others } = inputs
  const batch = { ...others, ...(mask && { attentionMask: mask }), labels } as Named<Value>
  const { logits } = forward(model, symbolsOf(model.parameters), symbolsOf(batch))
  return headOf(logits) && { model, batch }
}

const close = (a: readonly Float64Array[], b: readonly Float64Array[], tolerance: number): void =>
  a.forEach((x, i) =>
    expect(distanceInNorm(x, b[i])).toBeLessThanOrEqual(tolerance * Math.max(norm(b[i]), 1e-3)),
  )

/** Loss and gradients, whole and in chunks, all in float64. */
const interpreted = async (model: Model, batch: Named<Value>, chunk: number): Promise<void> => {
  const parameters = symbolsOf(model.parameters)
  const given = symbolsOf(batch)
  const run = async ({ value, grads }: ReturnType<typeof summed>): Promise<Float64Array[]> =>
    interpret([value, ...Object.values(grads)], { inputs: { ...model.parameters, ...batch } })
  const whole = await run(summed(model, parameters, given, undefined))
  close(await run(summed(model, parameters, given, chunk, new RandomStreams())), whole, 1e-9)
  close(await run(summed(model, parameters, given, chunk)), whole, 1e-9)
}

describe('a loss of rows in chunks', async () => {
  it.each(await goldens())('is that of all rows at once: %s', async (name) => {
    const { model, batch } = (await golden(name)) ?? {}
    if (!model || !batch) return
    const some = { ...batch, labels: sparse(batch.labels) }
    await interpreted(model, some, 6)
    const program = await compile(
      ({ parameters, batch }: { parameters: Named<Tensor>; batch: Named<Tensor> }) => ({
        whole: summed(model, parameters, batch, undefined),
        chunked: summed(model, parameters, batch, 6, new RandomStreams()),
      }),
      { parameters: { ...model.parameters }, batch: some },
    )
    const { whole, chunked } = await program.run({
      parameters: { ...model.parameters },
      batch: some,
    } as never)
    const numbers = ({ value, grads }: typeof whole): Float64Array[] =>
      [value, ...Object.values(grads as Named<Value>)].map(toNumbers)
    close(numbers(chunked), numbers(whole), 5e-6)
  })

  it('is made so for decoders of both kinds, encoders and soft caps', async () => {
    const found: string[] = []
    for (const name of await goldens()) if (await golden(name)) found.push(name)
    expect(found).toEqual(expect.arrayContaining(['bert-mlm', 'gemma2', 'gpt2', 'llama', 't5']))
  })

  it('has the slope of its own differences', async () => {
    const { model, batch } = (await golden('gemma2'))!
    const some = { ...batch, labels: sparse(batch.labels) }
    const name = 'model.embed_tokens.weight'
    const { value, grads } = summed(
      model,
      symbolsOf(model.parameters),
      symbolsOf(some),
      6,
      new RandomStreams(),
    )
    const start = toNumbers(model.parameters[name])
    const stream = new Stream('direction')
    const direction = start.map(() => stream.normal() / Math.sqrt(start.length))
    const at = async (h: number): Promise<number> => {
      const moved = valueOf(
        start.map((x, i) => x + h * direction[i]),
        model.parameters[name].shape,
        'float64',
      )
      const inputs = { ...model.parameters, ...some, [name]: moved }
      return (await interpret([value], { inputs }))[0][0]
    }
    const [slope] = await interpret([grads[name]], { inputs: { ...model.parameters, ...some } })
    const analytic = slope.reduce((sum, g, i) => sum + g * direction[i], 0)
    const h = 1e-3
    const numeric =
      (8 * ((await at(h)) - (await at(-h))) - ((await at(2 * h)) - (await at(-2 * h)))) / (12 * h)
    expect(Math.abs(numeric - analytic)).toBeLessThan(1e-7 * norm(slope))
  })

  it('gives gradients to parameters that no run is given, as frozen weights of which somebody asks', async () => {
    const w = tensor([0.3, -0.2, 0.5, 0.1, 0.7, -0.4], [3, 2])
    const x = tensor([1, 2, 3, 4, 5, 6, 7, 8], [1, 4, 2])
    const labels = tensor([0, 2, -100, 1], [1, 4], 'int32')
    const loss =
      (chunk: number) =>
      ({ w }: { w: Tensor }) => {
        const f = (x: Tensor, labels: Tensor): Tensor => cost(x.matmul(w.t()), labels)
        return chunk ? sumRows(f, [x, labels], { counted: labels.notEqual(-100), chunk }) : f(x, labels).sum()
      }
    const [whole, chunked] = [0, 2].map((chunk) => valueAndGrad(loss(chunk))({ w }).grads.w)
    const [a, b] = await interpret([whole, chunked], { inputs: {} })
    expect(norm(a)).toBeGreaterThan(0.1)
    close([b], [a], 1e-12)
  })

  it('computes each row by its sequence: adapters at the head that differ from row to row', async () => {
    const base = await openModel(await opened(goldenFolder('llama')))
    const heads = { targets: ['lm_head', 'q_proj'], rank: 2 }
    const noisy = async (seed: number): Promise<Awaited<ReturnType<typeof lora>>> => {
      const model = await lora(base, { ...heads, seed })
      const stream = new Stream(`head/${seed}`)
      const drawn = Object.entries(model.parameters).map(([name, v]) => [
        name,
        valueOf(
          Float32Array.from({ length: v.data.length }, () => stream.normal() / 5),
          v.shape,
        ),
      ])
      return model.with(Object.fromEntries(drawn)) as typeof model
    }
    const { batch } = (await golden('llama'))!
    const one = await noisy(1)
    await interpreted(one, { ...batch, labels: sparse(batch.labels) }, 6)
    const rows = batch.ids.shape[0]
    const adapters = adapterRows(
      Array.from({ length: rows }, (_, i) => (i % 3) - 1),
      2,
    )
    await interpreted(mixed([one, await noisy(2)]), { ...batch, adapters }, 6)
  })

  it('joins the logits of virtual tokens with those of the tokens behind them', async () => {
    const base = await openModel(await opened(goldenFolder('gpt2')))
    const model = await prompt(base, { tokens: 3, seed: 1 })
    const { batch } = (await golden('gpt2'))!
    const parameters = symbolsOf(model.parameters)
    const given = symbolsOf(batch)
    const outputs = forward(model, parameters, given)
    expect(headOf(outputs.logits)).toBeDefined()
    expect(headOf(outputs.first!)).toBeDefined()
    const { loss } = causalLoss(outputs, given)
    const [rows] = eachRow((logits, labels) => [cost(logits, labels)], {
      logits: outputs.logits,
      given: [given.labels],
      counted: given.labels.notEqual(-100),
      chunk: 5,
    })
    const whole = cost(outputs.logits.mul(1), given.labels)
    const inputs = { ...model.parameters, ...batch }
    const [a, b, mean] = await interpret([rows, whole, loss], { inputs })
    close([a], [b], 1e-12)
    expect(Number.isFinite(mean[0])).toBe(true)
  })

  it("draws every chunk's own dropout", async () => {
    const x = input('x', [1, 6, 4])
    const random = new RandomStreams()
    const counted = input('counted', [1, 6], 'bool')
    const total = sumRows((x) => dropout(x, 0.5, random).sum(-1), [x], { counted, chunk: 2, random })
    const ones = valueOf(new Float32Array(24).fill(1), [1, 6, 4])
    const drawn: number[] = []
    const bytes = (size: number, stream: number): Uint8Array => {
      drawn.push(stream)
      return new Uint8Array(size).fill(stream === 1 ? 255 : 0)
    }
    const all = valueOf(new Array<number>(6).fill(1), [1, 6], 'bool')
    const [sum] = await interpret([total], { inputs: { x: ones, counted: all }, random: bytes })
    expect(new Set(drawn)).toEqual(new Set([0, 1, 2]))
    expect(sum[0]).toBe(16)
  })
})

/** Bytes that a process of its own grows by while it trains a head over `rows` rows. */
const growth = async (program: URL, rows: number, chunk: number): Promise<number> => {
  const args = [fileURLToPath(program), String(rows), String(chunk)]
  return Number((await promisify(execFile)(process.execPath, args)).stdout)
}

describe('memory of a loss of rows', () => {
  it('holds nothing as large as all logits, forward or backward, once the vocabulary is large', () => {
    const [batch, time, width, vocabulary] = [2, 512, 4, 50_000]
    const labels = input('labels', [batch, time], 'int32')
    const parameters = { x: input('x', [batch, time, width]), w: input('w', [vocabulary, width]) }
    const largest = (trace: Trace): number => {
      const { value, grads } = valueAndGrad(({ x, w }: typeof parameters) => {
        const outputs = { logits: logitsBy((rows) => rows.matmul(w.t()), x), hidden: [] }
        return causalLoss(outputs, { labels }, trace)
      })(parameters)
      const nodes = reachable([value.loss, ...Object.values(grads)], everything)
      const inside = nodes.flatMap((node) => (node.op === 'cond' ? branchesOf(node) : []))
      expect(inside.length).toBeGreaterThan(8)
      return maxOf([...nodes, ...reachable(inside, everything)].map(({ outputs: [t] }) => t.size))
    }
    for (const trace of [{ random: new RandomStreams() }, {}])
      expect(largest(trace)).toBeLessThanOrEqual(256 * vocabulary)
  })

  it('follows the chunk, not the rows', async () => {
    const logits = (rows: number): number => 4 * rows * 40_000
    const program = await bundleForNode(new URL('../../test/rows-child.ts', import.meta.url))
    const few = await growth(program, 512, 128)
    const many = await growth(program, 2048, 128)
    const whole = await growth(program, 512, 512)
    await rm(program)
    // Four times the rows: were all logits there at once, even one copy, they would weigh 246 MB more.
    expect(many - few).toBeLessThan(logits(128))
    expect(many).toBeLessThan(logits(2048) / 2)
    expect(whole).toBeGreaterThan(2 * few)
  })
})
