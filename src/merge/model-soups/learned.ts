/**
 * @file The learned soup (Wortsman et al. 2022, arXiv 2203.05482, appendix): weights α of the models, for all tensors or
 * for each, and a temperature β of the logits, fitted to held-out data by gradient descent through the averaged model.
 */
import { z } from 'zod'
import type { Checkpoint } from '../../checkpoint/index.js'
import { UsageError } from '../../errors.js'
import {
  headOf,
  layoutsOf,
  type Model,
  openModel,
  type Parameters,
  plainWeights,
  requireSame,
  withHead,
} from '../../models/index.js'
import { softmax, type Tensor, type Value, valueOf, zerosValue } from '../../tensor/index.js'
import { adamW, type Data, fit, lossFor, type LossFunction, modelLoss } from '../../train/index.js'
import { isDataset } from '../../train/data.js'
import { weightedSum } from '../core/averaging/landscape.js'
import { type Procedure, procedure } from '../core/procedure.js'
import { card } from './card.js'
import { analyse, openPot, scoreOptions, type ScoreOptions } from '../core/averaging/pot.js'
import { served } from './soup.js'
import { checkAlike, type ModelWeights, namesOf } from '../core/averaging/weighted.js'
import { maxOf, minOf } from '../../tensor/numbers.js'

/** What the soup's α is a list for: all tensors together, or each by itself. */
export type Per = 'model' | 'tensor'

/** A model whose parameters are the soup's: `raw` (α = softmax(raw) along the last axis) and `beta`. */
export interface SoupModel extends Model {
  /** Names of the tensors that have a row of α, in their order. */
  readonly rows: readonly string[]
}

/**
 * The model whose every tensor is the sum of α_i times the tensor of model i. Its parameters: `raw`: [1 or tensors,
 * models], zero at first, so that it begins as the uniform soup, and `beta`: [], 1 at first. The models stay in their
 * files, which must stay open.
 * Throws UsageError for models that do not fit each other.
 */
export const soupModel = async (models: readonly Checkpoint[], per: Per): Promise<SoupModel> => {
  const opened = await Promise.all(models.map((model) => openModel(model)))
  const [first] = opened
  const table = first.architecture.table(first.config)
  const rows = table.filter(({ tied }) => tied === undefined).map(({ name }) => name)
  const owner = new Map(table.map(({ name, tied }) => [name, tied ?? name]))
  const place = new Map(rows.map((name, i) => [name, per === 'tensor' ? i : 0]))
  const assemble = (parameters: Parameters<Value>): SoupModel => ({
    ...first,
    rows,
    parameters,
    weights(tensors, trace) {
      const all = opened.map((model) => model.weights({}, {}))
      const alpha = softmax(tensors.raw, -1)
      const made = new Map<string, Tensor>()
      const lookup = (asked: string): Tensor | undefined => {
        const name = owner.get(asked)
        if (name === undefined || !all[0].has(asked)) return undefined
        const known = made.get(name)
        if (known) return known
        const own = all.map((weights) => weights.tensor(name))
        const row = alpha.slice(0, place.get(name)!, place.get(name)! + 1).reshape([models.length])
        const tensor =
          own[0].dtype === 'float32'
            ? own.map((t, i) => t.mul(row.slice(0, i, i + 1).reshape([]))).reduce((a, b) => a.add(b))
            : own[0]
        made.set(name, tensor)
        return tensor
      }
      return plainWeights(lookup, () => owner.keys(), { layouts: layoutsOf(table), ...trace })
    },
    with(values) {
      requireSame(parameters, values)
      return assemble(values)
    },
    save: () => {
      throw new UsageError('NotPlain', 'a soup that is being learned is saved by learnedSoup')
    },
  })
  const shape = [per === 'tensor' ? rows.length : 1, models.length]
  return assemble({ raw: zerosValue(shape), beta: valueOf([1], []) })
}

/** Cross-entropy of β f(x; Σ α_i θ_i), without dropout. */
export const soupLoss = (model: SoupModel): LossFunction => {
  const task = lossFor(model.architecture.task(model.config))
  return (parameters, batch, trace) =>
    modelLoss(model, (outputs, b) =>
      task({ ...outputs, logits: scaled(outputs.logits, parameters.beta) }, b, trace),
    )(parameters, batch, { ...trace, random: undefined })
}

/** β times the logits; where a head made them, rows of them are still made by it. */
const scaled = (logits: Tensor, beta: Tensor): Tensor => {
  const origin = headOf(logits)
  const product = logits.mul(beta)
  return origin ? withHead(product, { ...origin, head: (rows) => origin.head(rows).mul(beta) }) : product
}

/** α of the models for every tensor, in float64: each adds up to 1. */
export const alphasOf = async ({ rows, parameters: { raw } }: SoupModel): Promise<Map<string, number[]>> => {
  const count = raw.shape[1]
  const numbers = (await raw.read()) as Float32Array
  const alphas = rows.map((name, i): [string, number[]] => {
    const at = raw.shape[0] === 1 ? 0 : i * count
    const logits = Array.from(numbers.subarray(at, at + count))
    const most = maxOf(logits)
    const exps = logits.map((x) => Math.exp(x - most))
    const total = exps.reduce((a, b) => a + b)
    return [name, exps.map((x) => x / total)]
  })
  return new Map(alphas)
}

/** Options of `learnedSoup`. */
export interface LearnedSoupOptions extends ScoreOptions {
  /** A list of α for all tensors together, or for each. Default tensor. */
  readonly per: Per
  /** Default 5. */
  readonly epochs: number
  /** Number of steps, in place of epochs. */
  readonly steps?: number
  /** Learning rate of AdamW. Default 0.05. */
  readonly learningRate: number
}

/** Throws UsageError where both are datasets with the same records. */
const checkDifferent = async (data: Data, evaluation: Data | undefined): Promise<void> => {
  if (!evaluation || Array.isArray(data) || Array.isArray(evaluation)) return
  if (!isDataset(data) || !isDataset(evaluation)) return
  const [a, b] = [data[Symbol.asyncIterator](), evaluation[Symbol.asyncIterator]()]
  for (;;) {
    const [x, y] = [await a.next(), await b.next()]
    if (x.done && y.done)
      throw new UsageError('SameData', 'the data to learn on and to evaluate on are the same', {
        hint: 'The score would be that of data it was fitted to: hold others out (--eval-data).',
      })
    if (JSON.stringify(x.value) !== JSON.stringify(y.value)) return
  }
}

const widest = (alphas: ReadonlyMap<string, readonly number[]>, m: number): number[] => {
  const own = [...alphas.values()].map((list) => list[m])
  return [minOf(own), own.reduce((a, b) => a + b, 0) / own.length, maxOf(own)]
}

/**
 * The average with weights that held-out data choose: α by softmax, equal at first, learned with a temperature of the
 * logits by AdamW. All models' files are read at every step; in memory is what the averaged model and its gradient take.
 *
 *     const soup = await learnedSoup(models, { data: heldOut, per: 'model' })
 */
export const learnedSoup: Procedure<LearnedSoupOptions> = procedure<LearnedSoupOptions>({
  paper: card,
  name: 'learned-soup',
  summary: 'the average with weights, of models or of their tensors, fitted to held-out data',
  base: 'optional',
  data: 'required',
  example: { options: { steps: 2 } },
  evaluation: 'optional',
  counts: [2, Infinity],
  options: z.strictObject({
    ...scoreOptions,
    per: z.enum(['model', 'tensor']).default('tensor').describe('what has weights of its own: model, tensor'),
    epochs: z.number().int().positive().default(5).describe('times to go through the data'),
    steps: z.number().int().positive().optional().describe('steps, in place of epochs'),
    learningRate: z.number().nonnegative().default(0.05).describe('learning rate of AdamW'),
  }),
  async run(models, options, context) {
    checkAlike(models)
    const { data, evaluation, tokenizer, signal, seed, onProgress } = context
    await checkDifferent(data!, evaluation)
    const { per, epochs, steps, learningRate, batch } = options
    const start = await soupModel(models, per)
    const objective = { loss: soupLoss(start), optimizer: adamW({ weightDecay: 0 }) }
    const { model, loss } = await fit(start, data!, {
      objectives: [objective],
      ...{ epochs, steps, learningRate, batch, tokenizer, seed, onProgress },
      signal,
    })
    signal?.throwIfAborted()
    const alphas = await alphasOf(model)
    const weights: ModelWeights = per === 'tensor' ? alphas : alphas.values().next().value!
    const pot = await openPot(models, options, context)
    const soup = await pot.settled(await blended(models, pot.parameters, alphas))
    const names = namesOf(models, context.names)
    const score = await pot.score(soup)
    const order = [...models.keys()]
    return served({
      name: 'learned-soup',
      models,
      names,
      weights,
      replaced: pot.replaced(soup),
      report: {
        metric: options.metric,
        score,
        trainingLoss: loss,
        temperature: Number((await model.parameters.beta.read())[0]),
        models: names.map((name, m) => {
          const [least, mean, most] = widest(alphas, m)
          return { model: name, weight: mean, ...(per === 'tensor' ? { least, most } : {}) }
        }),
      },
      notes: [`${options.metric} ${score.toPrecision(5)} on the ${evaluation ? '' : 'same '}data`],
      analysis: await analyse(pot, models, order, names, context, options),
    })
  },
})

/** The soup's weights, a model after another: two sets in memory. */
const blended = async (
  models: readonly Checkpoint[],
  parameters: (i: number) => Promise<Parameters<Value>>,
  alphas: ReadonlyMap<string, readonly number[]>,
): Promise<Parameters<Value>> => {
  let soup = await parameters(0)
  const taken = new Map<string, number>()
  for (const i of [...models.keys()].slice(1)) {
    const own = await parameters(i)
    const next: Record<string, Value> = {}
    for (const name of Object.keys(own)) {
      const [weight, before] = [alphas.get(name)![i], taken.get(name) ?? alphas.get(name)![0]]
      taken.set(name, before + weight)
      const share = weight / (before + weight || 1)
      Object.assign(
        next,
        await weightedSum([{ [name]: soup[name] }, { [name]: own[name] }], [1 - share, share]),
      )
    }
    soup = next
  }
  return soup
}
