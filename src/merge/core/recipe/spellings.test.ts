/** @file What mergekit accepts of a recipe, Weft accepts: every spelling is read as the plain one. */
import { describe, expect, it } from 'vitest'
import { recipeSchema } from '../../index.js'

const plain = {
  merge_method: 'linear',
  models: [
    { model: 'a', parameters: { weight: 0.5 } },
    { model: 'b', parameters: { weight: 0.5 } },
  ],
}
const parsed = (document: unknown): unknown => recipeSchema.parse(document)
const withModel = (model: unknown, more: object = {}): object => ({
  merge_method: 'linear',
  models: [{ model, parameters: { weight: 1 } }],
  ...more,
})

describe('a recipe', () => {
  it.each<[string, object, object]>([
    [
      'with nulls where nothing is said',
      {
        ...plain,
        base_model: null,
        slices: null,
        parameters: null,
        dtype: null,
        tokenizer_source: null,
        tokenizer: { source: 'base', tokens: null },
      },
      { ...plain, tokenizer: { source: 'base' } },
    ],
    ['with an empty list beside the one that is meant', { ...plain, slices: [], modules: {} }, plain],
    [
      'with quoted numbers',
      {
        ...plain,
        models: plain.models.map(({ model }) => ({ model, parameters: { weight: '0.5' } })),
        parameters: { normalize: true, t: ['0', '1e-1'], density: [{ filter: 'mlp', value: '0.3' }] },
      },
      { ...plain, parameters: { normalize: true, t: [0, 0.1], density: [{ filter: 'mlp', value: 0.3 }] } },
    ],
    [
      'with a filter that is null',
      { ...plain, parameters: { t: [{ filter: null, value: 1 }] } },
      { ...plain, parameters: { t: [{ value: 1 }] } },
    ],
    ['with a model as an object', withModel({ model: { path: 'a b' } }), withModel('a b')],
    ['with a model at a revision', withModel({ path: 'a', revision: 'main' }), withModel('a@main')],
    [
      'with a model and an adapter as an object',
      withModel({ model: { path: 'a', revision: null }, lora: { path: 'c', revision: 'v2' } }),
      withModel('a+c@v2'),
    ],
    ['with a dtype of torch', { ...plain, dtype: 'torch.bfloat16' }, { ...plain, dtype: 'bfloat16' }],
    [
      "with an older recipe's tokenizer_source",
      { ...plain, tokenizer_source: 'model:./a' },
      { ...plain, tokenizer_source: './a' },
    ],
    [
      'with ranges and weights as mergekit writes slices',
      {
        merge_method: 'passthrough',
        slices: [
          { sources: [{ model: 'a', layer_range: ['0', 2.0] }], residual_weight: null, parameters: null },
        ],
      },
      { merge_method: 'passthrough', slices: [{ sources: [{ model: 'a', layer_range: [0, 2] }] }] },
    ],
    [
      'with a module as mergekit writes it',
      { merge_method: 'linear', modules: { default: { slices: null, models: plain.models } } },
      { merge_method: 'linear', modules: { default: { models: plain.models } } },
    ],
    [
      "with a token's source as an object",
      {
        ...plain,
        tokenizer: { tokens: { x: { source: { kind: 'model_token', model: { model: 'a' }, token: 'y' } } } },
      },
      {
        ...plain,
        tokenizer: { tokens: { x: { source: { kind: 'model_token', model: 'a', token: 'y' } } } },
      },
    ],
  ])('%s', (_, loose, wanted) => {
    expect(parsed(loose)).toEqual(parsed(wanted))
    expect(parsed(wanted)).toEqual(wanted)
  })

  it('keeps keys at its top that it does not know', () => {
    expect(parsed({ ...plain, const_tag: 0.5 })).toEqual({ ...plain, const_tag: 0.5 })
  })

  it.each<[string, object]>([
    ['a model of another architecture than it has', withModel({ model: 'a', override_architecture: 'B' })],
    ['a parameter that no method has', { ...plain, parameters: { denisty: 0.5 } }],
    ['a key of a model that there is not', withModel('a', { models: [{ model: 'a', wieght: 1 }] })],
    ['text for a number', { ...plain, parameters: { t: 'half' } }],
    ['neither models nor slices', { merge_method: 'linear', models: [] }],
  ])('is refused with %s', (_, document) => {
    expect(() => parsed(document)).toThrow()
  })
})
