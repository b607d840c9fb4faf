import { expect, it } from 'vitest'
import { createModel } from '../models/index.js'
import { valueOf } from '../tensor/index.js'
import { savedBytes } from './index.js'

it('a Llama block keeps its two residuals, heads, what attention puts out, gate and up, and a number a norm', async () => {
  const [width, heads, keyHeads, size, hidden] = [24, 4, 2, 8, 40]
  const keptBy = async (layers: number): Promise<number> => {
    const model = await createModel({
      ...{ model_type: 'llama', vocab_size: 32, hidden_size: width, intermediate_size: hidden },
      ...{ num_attention_heads: heads, num_key_value_heads: keyHeads, head_dim: size },
      ...{ num_hidden_layers: layers, max_position_embeddings: 16 },
    })
    const ids = valueOf(new Array<number>(24).fill(1), [2, 12], 'int32')
    return savedBytes(model, { ids, labels: ids })
  }
  const perToken = 2 * width + 2 * heads * size + 2 * keyHeads * size + 2 * hidden + 2
  expect((await keptBy(3)) - (await keptBy(2))).toBe(4 * 24 * perToken)
})
