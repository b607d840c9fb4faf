import { expect, it } from 'vitest'
import { goldenModels } from '../../test/golden-models.js'
import { numbersOf } from '../../test/golden-case.js'
import { goldenFolder } from '../../test/golden.js'
import { open } from '../checkpoint/index.js'
import { compile, grad, type Tensor, type Value, valueOf } from '../tensor/index.js'
import { architectureFor, type Model, openModel, type Parameters } from './index.js'

/** Names of a model's tables of tokens and positions whose row of `padding` learns where padding is looked up and seen. */
const learningTables = async (model: Model, padding: number): Promise<string[]> => {
  const { architecture, config } = model
  const tables = architecture
    .table(config)
    .flatMap(({ name, kind, tied, shape }) =>
      kind === 'embedding' && !tied && !/type|wpe|relative|vision/.test(name)
        ? [{ name, width: shape[1] }]
        : [],
    )
  const inputs: Record<string, Value> = { ids: valueOf([7, padding, 9, 5], [1, 4], 'int32') }
  if (architecture.task(config) === 'sequence') inputs.decoderIds = inputs.ids
  if (architecture.task(config) === 'contrastive')
    inputs.pixels = valueOf(new Float32Array(768), [1, 3, 16, 16])
  const program = await compile(
    ({ parameters, inputs }) =>
      grad((p: Parameters<Tensor>) => {
        const { hidden } = architecture.forward(model.weights(p, {}), inputs, config)
        return hidden.reduce((sum, x) => sum.add(x.square().mul(x).sum()), hidden[0].sum())
      })(parameters),
    { parameters: model.parameters, inputs },
    { device: 'reference' },
  )
  const grads = await program.run({ parameters: model.parameters, inputs })
  const rowOf = async (name: string, width: number): Promise<Float64Array> =>
    (await numbersOf(grads[name])).slice(padding * width, (padding + 1) * width)
  const learning = await Promise.all(
    tables.map(async ({ name, width }) => ((await rowOf(name, width)).some((g) => g !== 0) ? [name] : [])),
  )
  return learning.flat()
}

/** Tables whose lookup PyTorch's reference gives no padding: all rows learn. */
const whole: Readonly<Record<string, readonly string[]>> = {
  gpt2: ['transformer.wte.weight'],
  'gpt-neox': ['gpt_neox.embed_in.weight'],
  t5: ['shared.weight'],
  clip: ['text_model.embeddings.position_embedding.weight', 'text_model.embeddings.token_embedding.weight'],
  bert: ['bert.embeddings.position_embeddings.weight'],
  distilbert: ['distilbert.embeddings.position_embeddings.weight'],
}

it.each(goldenModels().filter(({ task }) => task !== 'image'))(
  '$name: the row of padding learns from being looked up only where the reference says no padding',
  async ({ name, architecture }) => {
    await using checkpoint = await open(goldenFolder(name))
    const { pad_token_id: padding } = checkpoint.config
    const model = await openModel(checkpoint, { trainable: true })
    const learning = await learningTables(model, typeof padding === 'number' ? padding : 0)
    expect(learning.sort()).toEqual([...(whole[architecture.name.replace('_', '-')] ?? [])].sort())
  },
)

it.each([
  ['bert', 0],
  ['roberta', 1],
  ['xlm-roberta', 1],
  ['distilbert', 0],
  ['modernbert', 50_283],
  ['gemma2', 0],
  ['gemma3_text', 0],
  ['phi3', 32_000],
  ['smollm3', 128_004],
  ['olmo2', 1],
  ['llama', undefined],
])('%s: a configuration without the id of padding means %s', (type, padding) => {
  const sizes = { vocab_size: 200_000, hidden_size: 8, num_attention_heads: 2, num_hidden_layers: 1 }
  const json = { model_type: type, ...sizes, ...(type !== 'distilbert' && { intermediate_size: 8 }) }
  const read = (more: object): unknown =>
    (architectureFor({ ...json, ...more }).readConfig({ ...json, ...more }) as { padding?: number }).padding
  expect(read({})).toBe(padding)
  expect(read({ pad_token_id: 7 })).toBe(7)
})
