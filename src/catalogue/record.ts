/** @file A reproduction that is kept: its run is a folder like any other. */
import { WeftError } from '../errors.js'
import { recordRun } from '../runs/index.js'
import type { CataloguedPaper } from './catalogue.js'
import { reproduce } from './reproduce.js'
import type { ReproduceOptions } from './reproduce.js'
import type { ReproductionResult } from '../papers/result.js'
import type { Reproduction } from '../papers/reproduction.js'

/** The experiment of a paper. Throws WeftError NotReproducible while there is none. */
export const experimentOf = async ({ id, state, reproduction }: CataloguedPaper): Promise<Reproduction> => {
  if (reproduction) return await reproduction()
  throw new WeftError('NotReproducible', `${id} is ${state}: there is no experiment to run yet`, {
    hint: 'Papers that have one: weft papers --state works',
  })
}

/** A reproduction and the folder of its run. */
export interface RecordedReproduction {
  readonly folder: string
  readonly result: ReproductionResult
}

/**
 * Runs `experiment` and records it under `home`, or in `folder`: what the arms log is the run's metrics, by series
 * `arm/seed`, and the outcome its result.
 */
export const recordReproduction = (
  home: string,
  experiment: Reproduction,
  { folder, ...options }: Omit<ReproduceOptions, 'log'> & { readonly folder?: string } = {},
): Promise<RecordedReproduction> => {
  const { quick = false, seeds = null, signal } = options
  const start = { command: 'reproduce', subject: experiment.paper.id, config: { quick, seeds }, folder }
  return recordRun(
    home,
    start,
    async (run) => {
      const result = await reproduce(experiment, { ...options, log: (values, at) => run.log(values, at) })
      return { folder: run.folder, result }
    },
    { signal, result: ({ result }) => result },
  )
}
