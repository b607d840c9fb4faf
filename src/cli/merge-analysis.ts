/** @file `weft merge --analyse`: where the result of a recipe lies among its models, as plots that the lab draws. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Checkpoint, open } from '../checkpoint/index.js'
import { anatomyOf, type Recipe } from '../merge/index.js'
import { linePlot, type LinePoint, lossAlong } from '../merge/index.js'
import { closeAll, namedModels, openSources } from '../merge/index.js'
import { openModel } from '../models/index.js'
import type { DrawnPlot } from '../papers/plot.js'
import { evaluator } from '../train/index.js'
import { taskOf } from '../tasks/index.js'
import { openData } from './training.js'
import type { Context } from './verb.js'

/** Points of each line of losses, its ends among them. */
const points = 7

/** Batches that each point is scored on, at most. */
const batches = 16

/** The loss from the result to each model, on the data in `file`. */
const lossPlot = async (
  merged: Checkpoint,
  models: ReadonlyMap<string, Checkpoint>,
  file: string,
  context: Context,
): Promise<DrawnPlot> => {
  const { signal, progress } = context
  const model = await openModel(merged, { trainable: true })
  taskOf(merged, 'causal')
  const score = evaluator(model, await openData(file, context), { batches, signal })
  const lines: Record<string, LinePoint[]> = {}
  for (const [name, checkpoint] of models) {
    progress({
      status: 'progress',
      name: `loss towards ${name}`,
      done: Object.keys(lines).length,
      unit: 'lines',
    })
    const { parameters } = await openModel(checkpoint, { trainable: true })
    const loss = async (p: typeof parameters): Promise<number> => (await score(p)).loss
    lines[name] = await lossAlong(loss, model.parameters, parameters, { points })
    signal.throwIfAborted()
  }
  const plot = linePlot(lines)
  return {
    ...plot,
    title: 'Loss from the merged model to each model',
    x: { label: 'from merged (0) to the model (1)' },
  }
}

/** The recipe with the models that lie somewhere: an earlier step's result is gone when the merge is done. */
const lasting = (recipes: readonly Recipe[]): Recipe => {
  const steps = new Set(recipes.slice(0, -1).map(({ name }) => name))
  const { base_model: base, ...last } = recipes[recipes.length - 1]
  const models = namedModels(last).filter((name) => !steps.has(name) && name !== base)
  return {
    merge_method: last.merge_method,
    ...(base === undefined || steps.has(base) ? {} : { base_model: base }),
    models: models.map((model) => ({ model })),
  }
}

/** What there is to say of the merge by `recipes` in `folder`; with `data`, also the loss along its paths. */
export const analysed = async (
  recipes: readonly Recipe[],
  folder: string,
  data: string | undefined,
  context: Context,
): Promise<DrawnPlot[]> => {
  const { signal, progress: onProgress } = context
  const recipe = lasting(recipes)
  const work = await mkdtemp(join(tmpdir(), 'weft-analyse-'))
  await using merged = await open(folder)
  let opened: ReadonlyMap<string, Checkpoint> = new Map()
  try {
    // What is amiss with them the merge has said.
    opened = await openSources(recipe, { work, onWarning: () => undefined })
    const base = recipe.base_model === undefined ? undefined : opened.get(recipe.base_model)
    const names = namedModels(recipe).filter((name) => name !== recipe.base_model)
    const models = new Map(names.map((name) => [name, opened.get(name)!]))
    const plots = await anatomyOf(merged, models, { base, signal, onProgress })
    return data === undefined ? plots : [...plots, await lossPlot(merged, models, data, context)]
  } finally {
    await closeAll(opened)
    await rm(work, { recursive: true, force: true })
  }
}
