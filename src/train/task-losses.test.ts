import { describe, expect, it } from 'vitest'
import { createModel, type Model } from '../models/index.js'
import { compile, toNumbers, type Value, valueOf } from '../tensor/index.js'
import { lossFor } from './loss.js'

const ids = valueOf([5, 17, 23, 42, 8, 61, 9, 4], [2, 4], 'int32')
const sizes = { vocab_size: 64, num_labels: 3, pad_token_id: 0 }
const blocks = { hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 24 }
const distil = { dim: 16, n_layers: 1, n_heads: 2, hidden_dim: 24 }

/** A model with a head, by the beginning of Transformers' class. */
const families = {
  Bert: { model_type: 'bert', ...blocks },
  Roberta: { model_type: 'roberta', ...blocks },
  XLMRoberta: { model_type: 'xlm-roberta', ...blocks },
  DistilBert: { model_type: 'distilbert', ...distil },
  ModernBert: { model_type: 'modernbert', ...blocks },
}

const headed = (family: keyof typeof families, head: string, more = {}): Promise<Model> =>
  createModel({ ...sizes, ...families[family], architectures: [`${family}${head}`], ...more })

const run = async (model: Model, labels: Value): Promise<{ logits: Value; loss: Value }> => {
  const inputs = { ids, labels, parameters: model.parameters }
  const program = await compile(({ ids, labels, parameters }) => {
    const outputs = model.architecture.forward(model.weights(parameters, {}), { ids }, model.config)
    const { loss } = lossFor(model.architecture.task(model.config))(outputs, { labels })
    return { logits: outputs.logits, loss }
  }, inputs)
  return program.run(inputs)
}

/** -log of the softmax of `row` at `label`. */
const surprise = (row: ArrayLike<number>, label: number): number =>
  Math.log(Array.from(row).reduce((sum, x) => sum + Math.exp(x), 0)) - row[label]

describe.each(Object.keys(families) as (keyof typeof families)[])('%s', (family) => {
  it('classifies each token, and ignores labels of -100', async () => {
    const labels = [2, -100, 0, 1, -100, -100, 1, 2]
    const { logits, loss } = await run(
      await headed(family, 'ForTokenClassification'),
      valueOf(labels, [2, 4], 'int32'),
    )
    expect(logits.shape).toEqual([2, 4, 3])
    const rows = toNumbers(logits)
    const each = labels.flatMap((label, i) =>
      label < 0 ? [] : [surprise(rows.slice(3 * i, 3 * i + 3), label)],
    )
    expect(toNumbers(loss)[0]).toBeCloseTo(each.reduce((a, b) => a + b) / each.length, 5)
  })

  it('finds where an answer begins and ends, and ignores an end beyond the tokens', async () => {
    const model = await headed(family, 'ForQuestionAnswering', { num_labels: 2 })
    const { logits, loss } = await run(model, valueOf([1, 3, 0, 9], [2, 2], 'int32'))
    expect(logits.shape).toEqual([2, 4, 2])
    const all = toNumbers(logits)
    const column = (row: number, end: number): number[] =>
      [0, 1, 2, 3].map((t) => all[(row * 4 + t) * 2 + end])
    const begin = (surprise(column(0, 0), 1) + surprise(column(1, 0), 0)) / 2
    expect(toNumbers(loss)[0]).toBeCloseTo((begin + surprise(column(0, 1), 3)) / 2, 5)
  })
})

it('a decoder classifies a text by its last token, whatever padding follows', async () => {
  const model = await createModel({
    ...sizes,
    ...blocks,
    model_type: 'llama',
    architectures: ['LlamaForSequenceClassification'],
  })
  const logitsOf = async (row: readonly number[]): Promise<Float64Array> => {
    const inputs = { ids: valueOf(row, [1, row.length], 'int32'), parameters: model.parameters }
    const program = await compile(
      ({ ids, parameters }) =>
        model.architecture.forward(model.weights(parameters, {}), { ids }, model.config).logits,
      inputs,
    )
    return toNumbers(await program.run(inputs))
  }
  const padded = await logitsOf([5, 17, 23, 0, 0])
  const plain = await logitsOf([5, 17, 23])
  expect(padded).toHaveLength(3)
  padded.forEach((x, i) => expect(x).toBeCloseTo(plain[i], 5))
  expect(await logitsOf([5, 17, 23, 8])).not.toEqual(plain)
})
