import { expect, it } from 'vitest'
import { goldenModels } from '../../test/golden-models.js'
import { goldenFolder } from '../../test/golden.js'
import { open } from '../checkpoint/index.js'
import { isHeadTask, openModel, withNewHead, withHeadFor } from './index.js'

const names = ['low', 'middle', 'high']

it.each(
  goldenModels().filter(({ architecture }) =>
    architecture.heads?.some((head) => /score|classifier/.test(head)),
  ),
)('$name gets a classifier of its own, and keeps its body', async ({ name, task }) => {
  await using checkpoint = await open(goldenFolder(name))
  const wanted = task === 'image' ? 'image' : 'classify'
  const config = withHeadFor(checkpoint.config, wanted, names)
  const headed = await withNewHead(checkpoint, config)
  const model = await openModel(headed.checkpoint)
  expect(model.architecture.task(model.config)).toBe(wanted)
  expect(config.label2id).toEqual({ low: 0, middle: 1, high: 2 })
  const kept = headed.checkpoint.names().filter((tensor) => !headed.fresh.includes(tensor))
  for (const tensor of kept)
    expect(await headed.checkpoint.readRaw(tensor)).toEqual(await checkpoint.readRaw(tensor))
  if (task !== 'classify') expect(headed.fresh.length).toBeGreaterThan(0)
  const again = await withNewHead(checkpoint, config)
  for (const tensor of headed.fresh)
    expect(await again.checkpoint.readRaw(tensor)).toEqual(await headed.checkpoint.readRaw(tensor))
})

it('is called as Transformers calls it, and refused where there is no such class', () => {
  const sizes = { vocab_size: 8, hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2 }
  const json = (model_type: string, name: string) => ({
    ...sizes,
    intermediate_size: 8,
    model_type,
    architectures: [name],
  })
  const classOf = (type: string, name: string) =>
    withHeadFor(json(type, name), 'classify', names).architectures
  expect(classOf('qwen3_moe', 'Qwen3MoeForCausalLM')).toEqual(['Qwen3MoeForSequenceClassification'])
  expect(classOf('gemma3_text', 'Gemma3ForCausalLM')).toEqual(['Gemma3TextForSequenceClassification'])
  expect(() => classOf('granite', 'GraniteForCausalLM')).toThrow(/no head for the task 'classify'/)
  expect(() => withHeadFor(json('llama', 'LlamaForCausalLM'), 'tokens', names)).toThrow(
    /no head for the task 'tokens'/,
  )
  expect(() =>
    withHeadFor({ ...json('llama', ''), architectures: undefined } as never, 'classify', names),
  ).toThrow(/does not say by "architectures"/)
  expect(isHeadTask('causal')).toBe(false)
})
