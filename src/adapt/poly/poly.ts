/**
 * @file Poly (Polytropon, Ponti et al. 2022, arXiv 2202.13914) as PEFT has it: skills mixed by a router that is sampled in
 * training, from the relaxed Bernoulli distribution. As in MHR inputs and outputs may be split in parts, each with weights
 * of its own.
 */
import type { z } from 'zod'
import { adapter } from '../core/adapter.js'
import { uniformWithin, zeros } from '../core/initial.js'
import { card } from './card.js'
import {
  checkTasks,
  routed,
  routedLora,
  type RoutedOptions,
  routedOptions,
  type RoutedSettings,
  routedSettings,
  skillSpecs,
} from '../core/routing.js'
import type { AdapterMethod, AdapterSpec } from '../core/spec.js'

/** Defaults: rank 8, 4 skills, 1 split. */
export type PolyOptions = RoutedOptions

const options: z.ZodObject = routedOptions({ rank: 8, skills: 4, splits: 1 })

const spec: AdapterSpec<PolyOptions, RoutedSettings> = {
  paper: card,
  peftType: 'POLY',
  options,
  size: { option: 'rank', kind: 'count' },
  kinds: ['linear'],
  settings: (o, site) => routedSettings('poly', o, site),
  parameters: (site, s) => ({
    ...skillSpecs(site, s, { A: uniformWithin((shape) => 1 / Math.sqrt(shape[2])), B: zeros }),
    logits: {
      key: 'poly_router.module_logits',
      shape: [s.tasks, s.splits * s.skills],
      initial: uniformWithin(() => 1e-3),
    },
  }),
  linear: (y, x, p, s, context) => routed(y, x, p, s, context, context.random),
  asLora: routedLora,
  check: checkTasks('poly'),
  peft: {
    keys: { n_skills: 'skills', n_splits: 'splits', n_tasks: 'tasks', r: 'rank' },
    unused: { poly_type: 'poly' },
    harmless: { init_weights: true },
  },
  lacks: ['bias', 'layers_pattern', 'layers_to_transform'],
}

/**
 * Poly on `base`, a checkpoint or an open model: a model whose parameters are the skills and the router of every target.
 * A batch names its rows' tasks in `taskIds`: [batch] int32. Throws UsageError for a target that matches nothing, a task
 * that there is not, and splits that do not divide a module's widths.
 */
export const poly: AdapterMethod<PolyOptions> = adapter(spec)
