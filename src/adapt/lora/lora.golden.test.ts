import { describeAdapter } from '../../../test/adapter.js'

for (const name of ['lora', 'lora-all', 'rslora', 'dora', 'lora-modules-to-save']) describeAdapter(name)
