import { testGolden } from '../../test/model-golden.js'

for (const name of [
  'llama',
  'llama3-rope',
  'qwen2',
  'qwen3',
  'mistral',
  'phi3',
  'smollm3',
  'olmo2',
  'granite',
])
  testGolden(name)
for (const name of ['gemma2', 'gemma3', 'mixtral', 'qwen3-moe']) testGolden(name, { tolerance: 5e-5 })
