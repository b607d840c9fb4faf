/** @file A reproduction that is kept: its run is a folder like any other. */
import { UsageError, WeftError } from '../errors.js'
import { loadRun, recordRun } from '../runs/index.js'
import { findPaper, knownPapers, stateWords, withExperiment } from './catalogue.js'
import type { CataloguedPaper, CatalogueOptions } from './catalogue.js'
import { checkSources, writeReference } from './reference.js'
import { reproduce } from './reproduce.js'
import type { ReproduceOptions } from './reproduce.js'
import type { ReproductionResult } from '../papers/result.js'
import type { Reproduction } from '../papers/reproduction.js'

/** The experiment of a paper. Throws WeftError NotReproducible while there is none. */
export const experimentOf = async ({
  id,
  state,
  reproduction,
}: Pick<CataloguedPaper, 'id' | 'state' | 'reproduction'>): Promise<Reproduction> => {
  if (reproduction) return await reproduction()
  throw new WeftError('NotReproducible', `${id} is ${stateWords[state]}: there is no experiment to run yet`, {
    hint: 'A paper that has one says so: weft papers ID',
  })
}

/**
 * The experiments of the papers called `ids`; of other papers nothing but their cards is loaded. Throws UsageError
 * UnknownPaper and WeftError NotReproducible.
 */
export const findExperiments = async (
  ids: readonly string[],
  options: CatalogueOptions = {},
): Promise<Reproduction[]> => {
  const known = await knownPapers(options)
  const papers = ids.map((id) => findPaper(known, id))
  return Promise.all(papers.map(async (paper) => experimentOf(withExperiment(paper))))
}

/** A reproduction and where it is kept. */
export interface RecordedReproduction {
  /** The run's folder. */
  readonly folder: string
  readonly result: ReproductionResult
  /** The file in `reference/`, where it was asked for. */
  readonly reference?: string
}

/** How to run a reproduction and keep it. */
export interface RecordOptions extends Omit<ReproduceOptions, 'log'> {
  /** The run's folder. Default: a fresh one under `home`. */
  readonly folder?: string
  /** Device and threads that it runs on, for the record. */
  readonly engine?: { readonly [name: string]: unknown }
  /** Keeps it in this folder as `ID.json` too: see `referenceFolder`. */
  readonly reference?: string
}

/**
 * Runs `experiment` and records it under `home`, or in `folder`: what the arms log is the run's metrics, by series
 * `arm/seed`, and the outcome its result. Throws UsageError for a reference that would not be a full reproduction.
 */
export const recordReproduction = async (
  home: string,
  experiment: Reproduction,
  { folder, engine, reference, ...options }: RecordOptions = {},
): Promise<RecordedReproduction> => {
  const { paper } = experiment
  if (reference !== undefined) checkReference(experiment, options)
  const { quick = false, seeds = null, signal } = options
  const start = { command: 'reproduce', subject: paper.id, config: { quick, seeds, ...engine }, folder }
  const recorded = await recordRun(
    home,
    start,
    async (run) => {
      const result = await reproduce(experiment, { ...options, log: (values, at) => run.log(values, at) })
      return { folder: run.folder, result }
    },
    { signal, result: ({ result }) => result },
  )
  if (reference === undefined || signal?.aborted) return recorded
  const run = await loadRun(recorded.folder)
  return { ...recorded, reference: await writeReference(paper, recorded.result, run!, reference) }
}

/** Throws UsageError for what no reference can be: quick, of fewer seeds than the experiment has, without sources. */
export const checkReference = (
  { paper, seeds: fullSeeds }: Reproduction,
  { quick, seeds = fullSeeds }: Pick<ReproduceOptions, 'quick' | 'seeds'>,
): void => {
  if (quick) throw new UsageError('BadUsage', '--reference keeps a full run; --quick makes none')
  if (seeds < fullSeeds)
    throw new UsageError(
      'BadUsage',
      `--reference keeps a full run: ${paper.id} has ${fullSeeds} seeds, --seeds asks for ${seeds}`,
    )
  checkSources(paper)
}
