import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { type Checkpoint, encode, formatJson, layOut, open, openBytes } from '../checkpoint/index.js'
import { compile, toNumbers, type Value, valueOf } from '../tensor/index.js'
import { createModel } from './create.js'
import { bert, type Model, openModel } from './index.js'

const ids = valueOf([5, 17, 23, 42, 8, 61], [1, 6], 'int32')
const logitsOf = async (model: Model, more: Record<string, Value> = {}): Promise<Value> => {
  const program = await compile(
    (inputs) => model.architecture.forward(model.weights({}, {}), inputs, model.config).logits,
    {
      ids,
      ...more,
    },
  )
  return program.run({ ids, ...more })
}

/** A checkpoint in memory. */
const inMemory = (config: Checkpoint['config'], tensors: Record<string, Value>): Promise<Checkpoint> => {
  const stored = Object.entries(tensors).map(([name, v]) => ({ name, ...encode(v) }))
  const { header, tensors: places, size } = layOut(stored, {}, 'model.safetensors')
  const bytes = new Uint8Array(size)
  bytes.set(header)
  for (const { name, offset } of places) bytes.set(encode(tensors[name]).data, offset)
  return openBytes({
    'config.json': new TextEncoder().encode(formatJson(config)),
    'model.safetensors': bytes,
  })
}

describe('bert', () => {
  let golden: Checkpoint
  beforeAll(async () => {
    golden = await open(goldenFolder('bert-mlm'))
  })
  afterAll(() => golden.close())

  it('opens checkpoints as the first releases wrote them: gamma and beta, pooler and next-sentence head left over', async () => {
    const tensors: Record<string, Value> = {
      'bert.pooler.dense.weight': valueOf([1], [1, 1]),
      'cls.seq_relationship.bias': valueOf([1, 2], [2]),
      'bert.embeddings.position_ids': valueOf([0, 1], [1, 2], 'int64'),
    }
    for (const name of golden.names())
      tensors[
        name.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta')
      ] = await golden.read(name)
    const old = await openModel(await inMemory(golden.config, tensors))
    expect(toNumbers(await logitsOf(old))).toEqual(toNumbers(await logitsOf(await openModel(golden))))
  })

  it('gives the logits of the tokens that are wanted alone', async () => {
    const model = await openModel(golden)
    const all = toNumbers(await logitsOf(model))
    const some = await logitsOf(model, { logitsAt: valueOf([4, 1], [1, 2], 'int32') })
    const row = (t: number): Float64Array => all.slice(t * 96, (t + 1) * 96)
    expect(some.shape).toEqual([1, 2, 96])
    ;[...row(4), ...row(1)].forEach((x, i) => expect(toNumbers(some)[i]).toBeCloseTo(x, 5))
  })

  it('does not see padding', async () => {
    const model = await openModel(golden)
    const mask = valueOf([1, 1, 1, 1, 0, 0], [1, 6], 'int32')
    const program = await compile(
      (inputs) =>
        model.architecture.forward(model.weights({}, {}), inputs, model.config).logits.slice(1, 0, 4),
      { ids, mask },
    )
    const other = valueOf([5, 17, 23, 42, 9, 3], [1, 6], 'int32')
    expect(toNumbers(await program.run({ ids, mask }))).toEqual(
      toNumbers(await program.run({ ids: other, mask })),
    )
  })

  it('refuses more tokens than it has positions, and tasks that it does not know', async () => {
    const model = await createModel({ ...golden.config, max_position_embeddings: 5 })
    await expect(
      compile(
        (parameters) =>
          model.architecture.forward(model.weights(parameters, {}), { ids: parameters.ids }, model.config)
            .logits,
        {
          ...model.parameters,
          ids,
        },
      ),
    ).rejects.toThrow(/6 tokens: this model has 5 positions/)
    expect(() => bert.bert.readConfig({ architectures: ['BertForNextSentencePrediction'] })).toThrow(
      /architectures is \["BertForNextSentencePrediction"\]; expected one of BertForMaskedLM/,
    )
  })
})
