/** @file `weft convert`: a checkpoint of PyTorch's, or of safetensors, written as safetensors. */
import { formatBytes } from './progress.js'
import { grouped } from './table.js'
import { action } from './verb.js'
import type { Verb } from './verb.js'

export const convert: Verb = {
  group: 'Checkpoints',
  ...action({
    name: 'convert',
    summary: "write a checkpoint as safetensors: PyTorch's .bin files, or another type or size of files",
    arguments: [{ name: 'model', summary: 'folder or hub id of the model', names: 'model' }],
    examples: [
      'weft convert models/SmolLM2-135M --out models/converted',
      'weft convert models/SmolLM2-135M --out models/converted --dtype bfloat16 --max-shard-size 500MB',
    ],
    options: async () => {
      const [{ z }, { common }] = await Promise.all([import('zod'), import('./options.js')])
      return z.object({
        out: common.out,
        dtype: common.dtype,
        maxShardSize: common.maxShardSize,
        dryRun: common.dryRun,
        force: common.force,
        strict: common.strict,
      })
    },
    run: async ({ arguments: { model }, options }, { progress: onProgress, signal, info, result }) => {
      const [{ convertCheckpoint, open }, { saveInto }] = await Promise.all([
        import('../checkpoint/index.js'),
        import('./output.js'),
      ])
      const { out, dtype, maxShardSize: maxShardBytes } = options
      await using checkpoint = await open(model, { strict: options.strict, onWarning: info })
      const names = checkpoint.names()
      const bytes = names.reduce((sum, name) => sum + checkpoint.info(name).length, 0)
      const plan = { folder: out, model, tensors: names.length, bytes }
      const what = `${grouped(names.length)} tensors (${formatBytes(bytes)})`
      if (options.dryRun) return result(plan, () => `Would write ${what} to ${out}.`)
      await saveInto(out, (folder) =>
        convertCheckpoint(checkpoint, folder, { dtype, maxShardBytes, onProgress, signal }),
      )
      result(plan, () => `Converted ${what}. Wrote ${out}`)
    },
  }),
}
