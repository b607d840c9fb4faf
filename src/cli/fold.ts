/** @file `weft fold`: an adapter merged into its base model, written as a plain checkpoint. */
import { formatBytes } from './progress.js'
import { grouped } from './table.js'
import { action } from './verb.js'
import type { Verb } from './verb.js'

export const fold: Verb = {
  group: 'Train and adapt',
  ...action({
    name: 'fold',
    summary: 'merge an adapter into its base model: a plain checkpoint that needs no adapter',
    arguments: [
      { name: 'base', summary: 'folder or hub id of the base model' },
      { name: 'adapter', summary: 'folder of the adapter' },
    ],
    examples: [
      'weft fold models/SmolLM2-135M adapters/first --out models/first',
      'weft fold models/SmolLM2-135M adapters/first --out models/first --max-shard-size 500MB --dry-run',
    ],
    options: async () => {
      const [{ z }, { common, flag }] = await Promise.all([import('zod'), import('./options.js')])
      return z.object({
        out: common.out,
        maxShardSize: common.maxShardSize,
        dryRun: common.dryRun,
        force: common.force,
        anyBase: flag(z.boolean().default(false), 'fold also into another base than its own'),
        device: common.device,
        threads: common.threads,
      })
    },
    run: async ({ arguments: { base, adapter }, options }, context) => {
      const [{ loadAdapter, fold }, { open }, { useEngine }, { checkOutput, saveInto }] = await Promise.all([
        import('../adapt/index.js'),
        import('../checkpoint/index.js'),
        import('./engine.js'),
        import('./output.js'),
      ])
      useEngine(options)
      const { out, force, anyBase, maxShardSize } = options
      await checkOutput(out, { force })
      await using checkpoint = await open(base)
      const model = await loadAdapter(checkpoint, adapter, { force: anyBase, onWarning: context.info })
      const bytes = checkpoint.names().reduce((sum, name) => sum + checkpoint.info(name).length, 0)
      const sites = model.plan.sites.length
      const plan = { folder: out, base, adapter, modules: sites, bytes }
      if (options.dryRun)
        return context.result(
          plan,
          () => `Would fold ${grouped(sites)} modules and write ${formatBytes(bytes)} to ${out}.`,
        )
      const { progress: onProgress, signal } = context
      await saveInto(out, (folder) =>
        fold(model, folder, { maxShardBytes: maxShardSize, onProgress, signal }),
      )
      context.result(plan, () => `Folded ${grouped(sites)} modules. Wrote ${out} (${formatBytes(bytes)})`)
    },
  }),
}
