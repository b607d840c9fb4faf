/** @file `weft adapt METHOD`: trains an adapter on a frozen model. The methods are those of src/adapt's list. */
import type { ZodObject } from 'zod'
import type { AdapterMethod } from '../adapt/index.js'
import type { Checkpoint } from '../checkpoint/index.js'
import type { Batch, Data, DataOptions } from '../train/index.js'
import type { Training } from './training.js'
import { action } from './verb.js'
import type { Action, Verb } from './verb.js'

export const adapt: Verb = {
  group: 'Train and adapt',
  name: 'adapt',
  noun: 'method',
  summary: 'train a small adapter on a frozen model, saved as a PEFT folder',
  examples: [
    'weft adapt lora models/SmolLM2-135M --data train.jsonl --out adapters/first',
    'weft adapt lora --help      # the options of a method',
    'weft adapt compare models/SmolLM2-135M --data train.jsonl --budget 0.5%',
  ],
  members: async () => {
    const [{ methods }, { compare }] = await Promise.all([
      import('../adapt/index.js'),
      import('./compare.js'),
    ])
    return [compare, ...methods.map(memberOf)]
  },
}

/** The first batches of the run's data, for methods that choose by them what trains. */
const firstBatches = async (
  checkpoint: Checkpoint,
  data: Data,
  options: DataOptions,
  count = 4,
): Promise<Batch[]> => {
  const [{ openModel }, { batchesOf }] = await Promise.all([
    import('../models/index.js'),
    import('../train/index.js'),
  ])
  const found: Batch[] = []
  for await (const batch of await batchesOf(await openModel(checkpoint), data, options)) {
    found.push(batch)
    if (found.length === count) break
  }
  return found
}

const memberOf = (method: AdapterMethod<never>): Action => {
  const { id, title } = method.paper
  const call = `weft adapt ${id} models/SmolLM2-135M --data train.jsonl`
  return action({
    name: id,
    summary: title,
    arguments: [{ name: 'base', summary: 'folder or hub id of the model to adapt', names: 'model' }],
    config: true,
    keepsRun: true,
    examples: [
      `${call} --out adapters/first`,
      `${call}${'targets' in method.options.shape ? ' --targets all-linear' : ''} --epochs 3 --eval-split 0.05 --out adapters/first`,
      `${call} --out adapters/first --resume      # after Ctrl-C or a crash`,
    ],
    options: async () => {
      const { trainingOptions } = await import('./training.js')
      return method.options.extend(trainingOptions(2e-4)) as ZodObject
    },
    run: async ({ arguments: { base }, options }, context) => {
      const [{ open }, { openTokenizer }, training] = await Promise.all([
        import('../checkpoint/index.js'),
        import('../text/index.js'),
        import('./training.js'),
      ])
      // The method's schema is extended by the training's, which types cannot follow.
      const settings = options as unknown as Training['options']
      training.checkTraining(settings)
      await using checkpoint = await open(base, { strict: settings.strict, onWarning: context.info })
      training.checkCausalCheckpoint(checkpoint)
      const tokenizer = await openTokenizer(checkpoint.folder)
      const data = await training.openRunData(settings, context)
      const own = Object.keys(method.options.shape).map((key) => [key, options[key as never]])
      const seen = 'calibration' in method.options.shape && {
        calibration: await firstBatches(checkpoint, data.data, { ...settings, tokenizer }),
      }
      const model = await method(checkpoint, { ...Object.fromEntries(own), ...seen } as never)
      await training.runTraining(
        {
          command: 'adapt',
          method: id,
          base,
          model,
          tokenizer,
          options: settings,
          data,
          save: (trained, folder) => trained.save(folder),
        },
        context,
      )
    },
  })
}
