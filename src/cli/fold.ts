/** @file `weft fold`: an adapter merged into its base model, a plain checkpoint; or put together as a plain LoRA. */
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
      { name: 'base', summary: 'folder or hub id of the base model', names: 'model' },
      { name: 'adapter', summary: 'folder of the adapter' },
    ],
    examples: [
      'weft fold models/SmolLM2-135M adapters/first --out models/first',
      'weft fold models/SmolLM2-135M adapters/first --out models/first --max-shard-size 500MB --dry-run',
      'weft fold models/SmolLM2-135M adapters/shards --as lora --out adapters/plain',
    ],
    options: async () => {
      const [{ z }, { common, flag, onlyWhen }] = await Promise.all([import('zod'), import('./options.js')])
      return z.object({
        out: common.out,
        as: flag(z.enum(['model', 'lora']).default('model'), 'write a checkpoint, or a LoRA that PEFT loads'),
        task: flag(z.number().int().nonnegative().optional(), 'of an adapter with several tasks: which one'),
        maxShardSize: onlyWhen(common.maxShardSize, [{ as: ['model'] }]),
        dryRun: common.dryRun,
        force: common.force,
        anyBase: flag(z.boolean().default(false), 'fold also into another base than its own'),
        strict: common.strict,
        device: common.device,
        threads: common.threads,
      })
    },
    run: async ({ arguments: { base, adapter }, options }, context) => {
      const [{ exportLora, loadAdapter, fold }, { open, overlayTokenizer, resolveModel }, { saveInto }] =
        await Promise.all([
          import('../adapt/index.js'),
          import('../checkpoint/index.js'),
          import('./output.js'),
        ])
      const { out, anyBase, maxShardSize, task } = options
      await using checkpoint = await open(base, { strict: options.strict, onWarning: context.info })
      const replace = task === undefined ? undefined : { task }
      const model = await loadAdapter(checkpoint, adapter, {
        force: anyBase,
        replace,
        onWarning: context.info,
      })
      const sites = model.plan.sites.length
      if (options.as === 'lora') {
        const lora = { folder: out, base, adapter, modules: sites }
        if (options.dryRun)
          return context.result(lora, () => `Would write LoRA of ${grouped(sites)} modules to ${out}.`)
        await saveInto(out, async (folder) => {
          await exportLora(model, folder)
          await overlayTokenizer(await resolveModel(adapter), folder)
        })
        return context.result(lora, () => `Put together LoRA of ${grouped(sites)} modules. Wrote ${out}`)
      }
      const bytes = checkpoint.names().reduce((sum, name) => sum + checkpoint.info(name).length, 0)
      const plan = { folder: out, base, adapter, modules: sites, bytes }
      if (options.dryRun)
        return context.result(
          plan,
          () => `Would fold ${grouped(sites)} modules and write ${formatBytes(bytes)} to ${out}.`,
        )
      const { progress: onProgress, signal } = context
      await saveInto(out, async (folder) => {
        await fold(model, folder, {
          maxShardBytes: maxShardSize,
          onProgress,
          signal,
          onWarning: context.info,
        })
        await overlayTokenizer(await resolveModel(adapter), folder)
      })
      context.result(plan, () => `Folded ${grouped(sites)} modules. Wrote ${out} (${formatBytes(bytes)})`)
    },
  }),
}
