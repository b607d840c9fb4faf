/** @file `weft train`: all weights of a model by its task, or a new language model from nothing. */
import type { TrainingOptions } from './training.js'
import { action } from './verb.js'
import type { Context, Verb } from './verb.js'

export const train: Verb = {
  group: 'Train and adapt',
  ...action({
    name: 'train',
    summary: 'train a model whole: fine-tune one, or make a new one from a config',
    arguments: [{ name: 'config', summary: 'YAML or JSON with the options below', optional: true }],
    keepsRun: true,
    examples: [
      'weft train train.yaml',
      'weft train train.yaml --out runs/second --learning-rate 1e-4      # a flag wins over the file',
      'weft train --model models/SmolLM2-135M --data train.jsonl --eval-split 0.1 --out models/tuned',
      'weft train --model models/roberta --data reviews.csv --text-column review --label-column stars --out models/stars',
      'weft train --model models/vit --data photos/ --eval-split 0.1 --out models/photos   # photos/CLASS/NAME.jpg',
      'weft train --architecture llama --model-config hidden_size=128,num_hidden_layers=4 \\',
      '    --model-config num_attention_heads=4,intermediate_size=384 --data train.jsonl --lr 3e-3 --out models/new',
      'weft train train.yaml --resume                                    # after Ctrl-C or a crash',
    ],
    options: async () => {
      const [{ z }, { common, flag, onlyWhen }, { trainingOptions }] = await Promise.all([
        import('zod'),
        import('./options.js'),
        import('./training.js'),
      ])
      const value = z.union([z.number(), z.boolean(), z.string(), z.record(z.string(), z.unknown())])
      const model = flag(z.string().min(1).optional(), 'folder or hub id of the model to train on', {
        short: 'm',
        value: 'DIR',
      })
      return z.object({
        model,
        architecture: flag(z.string().optional(), 'instead of a model: a new one of this model_type'),
        modelConfig: flag(z.record(z.string(), value).optional(), "the new model's config.json", {
          when: [{ architecture: 'given' }],
        }),
        tokenizer: flag(z.string().optional(), 'folder with its tokenizer (one is made from the data)', {
          value: 'DIR',
          when: [{ architecture: 'given' }],
        }),
        vocabulary: flag(z.number().int().min(258).default(1024), 'size of the tokenizer that is made', {
          when: [{ architecture: 'given', tokenizer: 'absent' }],
        }),
        ...trainingOptions(5e-5),
        strict: onlyWhen(common.strict, [{ architecture: 'absent' }]),
      })
    },
    run: async ({ options }, context) => {
      const [{ UsageError }, training] = await Promise.all([import('../errors.js'), import('./training.js')])
      const { model: folder, architecture, strict } = options
      if ((folder === undefined) === (architecture === undefined))
        throw new UsageError('BadUsage', 'expected either a model or the architecture of a new one', {
          hint: '--model DIR, or --architecture llama --model-config hidden_size=128,...',
        })
      training.checkTraining(options)
      const { data, ...start } =
        folder === undefined ? await fresh(options, context) : await tuned(folder, strict, options, context)
      await using _open = start.model.checkpoint
      const base = folder ?? `new ${architecture}`
      await training.runTraining({ ...start, command: 'train', base, options, data }, context)
    },
  }),
}

type Options = TrainingOptions & {
  readonly architecture?: string
  readonly modelConfig?: Record<string, unknown>
  readonly tokenizer?: string
  readonly vocabulary: number
}

/** A model that exists, and its data; the classes that these name are the trained model's. */
const tuned = async (folder: string, strict: boolean, options: Options, context: Context) => {
  const [{ open }, { checkpointFor }, { existingModel }, { checkState }, training] = await Promise.all([
    import('../checkpoint/index.js'),
    import('./new-head.js'),
    import('./new-model.js'),
    import('./needs.js'),
    import('./training.js'),
  ])
  const checkpoint = await open(folder, { strict, onWarning: context.info })
  try {
    checkState(checkpoint, options)
    const data = await training.openRunData(checkpoint, options, options.task, context)
    const { checkpoint: fitting } = await checkpointFor(checkpoint, data, options.seed, context)
    return { ...(await existingModel(fitting, data.task !== 'image')), data }
  } catch (error) {
    await checkpoint.close()
    throw error
  }
}

/** A new language model with a tokenizer, and its data. */
const fresh = async (options: Options, context: Context) => {
  const [{ newModel, textOf }, { WordCounts }, training] = await Promise.all([
    import('./new-model.js'),
    import('../text/index.js'),
    import('./training.js'),
  ])
  const words = new WordCounts()
  const data = await training.openTextData(options, context, (record) => words.add(textOf(record)))
  const { architecture, modelConfig, tokenizer, vocabulary, seed } = options
  const settings = { architecture: architecture!, modelConfig, tokenizer, vocabulary, seed }
  return { ...(await newModel(settings, words)), data }
}
