/** @file `weft adapt METHOD`: trains an adapter on a frozen model. The methods are those of src/adapt's list. */
import type { ZodObject } from 'zod'
import type { AdapterMethod } from '../adapt/index.js'
import type { Checkpoint } from '../checkpoint/index.js'
import type { Batch, Data, DataOptions } from '../train/index.js'
import type { Training } from './training.js'
import { shapeOf } from './schema.js'
import { action } from './verb.js'
import type { Action, Context, Verb } from './verb.js'

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
  const batches: Batch[] = []
  for await (const batch of await batchesOf(await openModel(checkpoint), data, options)) {
    batches.push(batch)
    if (batches.length === count) break
  }
  return batches
}

/** The options of `weft adapt METHOD` but those of training: of a wrapper those of whatever it may stand around, too. */
const optionsOf = async (method: AdapterMethod<never>): Promise<ZodObject> => {
  if (!method.around) return method.options
  const [{ methods }, { wrappedOptions }] = await Promise.all([
    import('../adapt/index.js'),
    import('./wrapped-options.js'),
  ])
  return wrappedOptions(method, methods)
}

/** The method itself, or a wrapper around the one that was chosen. */
const chosenFrom = async (method: AdapterMethod<never>, options: object): Promise<AdapterMethod<never>> => {
  if (!method.around) return method
  const [{ methods }, { adapterKey, wrappedAs }] = await Promise.all([
    import('../adapt/index.js'),
    import('./wrapped-options.js'),
  ])
  return wrappedAs(method, methods, (options as Record<string, unknown>)[adapterKey])
}

/** The method's options, read one by one. Throws UsageError for a value that it does not take, though another may. */
const ownOptions = async (method: AdapterMethod<never>, options: object): Promise<object> => {
  const [{ check }, { isCodes, kebab }] = await Promise.all([import('./config.js'), import('./options.js')])
  const keys = Object.entries(shapeOf(method.options)).flatMap(([key, schema]) =>
    isCodes(schema) ? [] : [key],
  )
  const values = keys.map((key) => [key, options[key as never] as unknown])
  const namedOptions = Object.fromEntries(values.filter(([, value]) => value !== undefined))
  return check(method.options, namedOptions, ([key]) => `--${kebab(String(key))}`)
}

/** Whether the method has a task of its own: the one that rows belong to. */
const routes = (schema: ZodObject): boolean => 'task' in schema.shape

/** The checkpoint that the run's data are for, and the modules that are trained whole where its head is new. */
const headedFor = async (
  checkpoint: Checkpoint,
  data: Training['data'],
  { modulesToSave = [] }: { readonly modulesToSave?: readonly string[] },
  context: Context,
): Promise<{
  readonly checkpoint: Checkpoint
  readonly head: { readonly modulesToSave?: readonly string[] }
}> => {
  const [{ headModules }, { openModel }, { checkpointFor }] = await Promise.all([
    import('../adapt/index.js'),
    import('../models/index.js'),
    import('./new-head.js'),
  ])
  // A new head begins the same whatever the seed: an adapter's folder has to find its base again.
  const { checkpoint: fitting, fresh } = await checkpointFor(checkpoint, data, 0, context)
  if (fresh.length === 0) return { checkpoint: fitting, head: {} }
  const ofHead = headModules(await openModel(fitting), fresh)
  return { checkpoint: fitting, head: { modulesToSave: [...new Set([...modulesToSave, ...ofHead])] } }
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
      ...(method.around
        ? [`weft adapt ${id} --adapter houlsby --help      # the options around another method`]
        : []),
    ],
    options: async () => {
      const { trainingOptions } = await import('./training.js')
      const schema = await optionsOf(method)
      const { task, ...shared } = trainingOptions(2e-4)
      // Of methods that route by task, `task` is theirs: what the run is for follows from the model.
      return schema.extend(routes(schema) ? shared : { task, ...shared }) as ZodObject
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
      const chosen = await chosenFrom(method, options)
      const methodOptions = await ownOptions(chosen, options)
      await using checkpoint = await open(base, { strict: settings.strict, onWarning: context.info })
      const task = routes(await optionsOf(method)) ? undefined : settings.task
      const data = await training.openRunData(checkpoint, settings, task, context)
      const { checkpoint: fitting, head } = await headedFor(checkpoint, data, methodOptions, context)
      const tokenizer = data.task === 'image' ? undefined : await openTokenizer(checkpoint.folder)
      const { batch, length, packing } = settings
      const rows = { batch, length, packing, tokenizer }
      const seen = 'calibration' in chosen.options.shape && {
        calibration: await firstBatches(fitting, data.data, rows),
      }
      const model = await chosen(fitting, { ...methodOptions, ...seen, ...head } as never)
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
