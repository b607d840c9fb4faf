import { describeAdapter } from '../../../test/adapter.js'

for (const name of [
  'lora',
  'lora-all',
  'rslora',
  'dora',
  'lora-modules-to-save',
  'lora-embedding',
  'lora-bias',
  'lora-trainable-tokens',
])
  describeAdapter(name)
