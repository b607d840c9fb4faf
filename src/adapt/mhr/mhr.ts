/**
 * @file MHR (Caccia et al. 2022, arXiv 2211.03831): skills mixed for each task by a router, in each of h parts of a
 * module's width by itself; see `routing.ts` for S, h, r and the shapes. With one part it is Poly without sampling, with one
 * skill it is one LoRA. A trained inventory is adapted to a new task whole (MHR), by its row of the router alone (MHR-z),
 * or as the average of its skills, an ordinary LoRA (MHR-µ).
 */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import type { Model, Parameters } from '../../models/index.js'
import { type Value, valueOf } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { type Initial, uniformWithin, zeros } from '../core/initial.js'
import { card } from './card.js'
import { shortest } from '../core/peft-config.js'
import { poly } from '../poly/poly.js'
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
import type { Site } from '../../models/sites.js'
import type { AdaptedModel, AdapterMethod, AdapterSpec } from '../core/spec.js'

const routers = ['module', 'block', 'stack', 'model'] as const
const tunings = ['all', 'routing', 'average'] as const

/** Defaults: rank 4, 8 skills, 8 splits. */
export interface MhrOptions extends RoutedOptions {
  /** What shares one router: each module has its own, or those of a block, of a stack of blocks, of the model. Default 'module'. */
  readonly router: (typeof routers)[number]
  /** What trains: all (MHR), routers alone (MHR-z), or the average of the skills (MHR-µ). Default 'all'. */
  readonly tune: (typeof tunings)[number]
  /** The routers' learning rate, times that of the skills; without it they stay uniform. Default 100. */
  readonly routingRate: number
  /**
   * A trained inventory (a folder, or a model) to adapt to new tasks: its skills with fresh rows of the router. Rank, skills,
   * splits, routers and targets are then its own.
   */
  readonly inventory?: string | AdaptedModel
}

/** With the parameters of the inventory that it begins with. */
interface Resolved extends MhrOptions {
  readonly trained?: Parameters<Value>
}

interface Settings extends RoutedSettings, Pick<Resolved, 'trained' | 'tune'> {
  /** Of the router's rows for this module: its own, or one that others have too. */
  readonly ownRouter: boolean
}

const options: z.ZodObject = routedOptions({ rank: 4, skills: 8, splits: 8 }).extend({
  router: z.enum(routers).default('module').describe('what shares one router'),
  tune: z
    .enum(tunings)
    .default('all')
    .describe('what trains: all, the routing alone (MHR-z), the average of the skills (MHR-mu)'),
  routingRate: z.number().positive().default(100).describe("the routers' learning rate, times the skills'"),
  inventory: z
    .union([z.string(), z.custom<object>((x) => typeof x === 'object' && x !== null && 'plan' in x)])
    .optional()
    .describe('folder of a trained inventory to adapt to a new task'),
})

/** What has one router: the module, the part of its name up to the first number, that before it, nothing. */
const routerOf = (router: MhrOptions['router'], { name }: Site): string => {
  const [, stack, block] = /^((?:.*?(?=\.\d+\.))?)(?:\.(\d+)\.)?/.exec(name)!
  if (router === 'module') return name
  if (router === 'model' || block === undefined) return 'model'
  return router === 'stack' ? stack : `${stack}.${block}`
}

const isRouter = (name: string): boolean => /(^|\.)(poly|mhr)_router\./.test(name)

/** The inventory that options name, on this base. Throws UsageError for what is none, or has not been trained. */
const openInventory = async (base: Model, inventory: string | AdaptedModel): Promise<AdaptedModel> => {
  const load = async (folder: string): Promise<AdaptedModel> => {
    const { readAdapter } = await import('../../checkpoint/index.js')
    const saved = await readAdapter(folder)
    await using _open = saved.tensors
    const method = [poly, mhr].find(({ peftType }) => peftType === saved.config.peft_type)
    if (method) return await method.load(base, saved)
    throw new UsageError('NoInventory', `mhr: ${folder} is a ${String(saved.config.peft_type)} adapter`, {
      hint: 'An inventory is what poly and mhr train.',
    })
  }
  const model = typeof inventory === 'string' ? await load(inventory) : inventory
  const factors = Object.entries(model.parameters).filter(([name]) => name.endsWith('.poly_lora_B'))
  if (factors.some(([, { data }]) => data.some((x) => Number(x) !== 0))) return model
  throw new UsageError(
    'UntrainedInventory',
    'mhr: the inventory has never been trained: its skills do nothing',
    {
      hint: 'Train it on several tasks first (adapt mhr with tasks), then adapt it to a new one.',
    },
  )
}

const resolve = async (base: Model, o: MhrOptions): Promise<Resolved> => {
  if (o.inventory === undefined) {
    if (o.tune === 'all') return o
    throw new UsageError('NoInventory', `mhr: tune '${o.tune}' needs a trained inventory (inventory)`)
  }
  const { plan, parameters } = await openInventory(base, o.inventory)
  const { rank, skills, splits, router = 'module' } = plan.options as MhrOptions
  const sites = plan.sites.map(({ site }) => site)
  return {
    ...o,
    ...{ rank, skills, splits, router },
    ...(o.tune === 'average' && { skills: 1, splits: 1, router: 'module' }),
    ...{ targets: shortest(base, sites), exclude: undefined, layers: undefined, layersPattern: undefined },
    trained: parameters,
  }
}

/** The mean over skills, the splits laid end to end. A: [h, S, in / h, r] -> [1, 1, in, r]; B: [h, S, r, out / h] -> [1, 1, r, out]. */
const meanOf = ({ data, shape: [splits, skills, a, b] }: Value, part: 'A' | 'B'): Value => {
  const out = new Float32Array(splits * a * b)
  for (let q = 0; q < splits; q++)
    for (let s = 0; s < skills; s++)
      for (let i = 0; i < a; i++)
        for (let j = 0; j < b; j++) {
          const at = part === 'A' ? (q * a + i) * b + j : (i * splits + q) * b + j
          out[at] += Number(data[((q * skills + s) * a + i) * b + j]) / skills
        }
  return valueOf(out, part === 'A' ? [1, 1, splits * a, b] : [1, 1, a, splits * b])
}

/** What a factor is before training: random, or what the inventory has. */
const beginning = ({ name }: Site, { trained, tune }: Settings, part: 'A' | 'B', fresh: Initial): Initial => {
  const found = trained?.[`${name}.poly_lora_${part}`]
  if (!found) return fresh
  return tune === 'average' ? () => meanOf(found, part) : () => found
}

const uniformLogits = uniformWithin(() => 1e-3)

const spec: AdapterSpec<MhrOptions, Settings> = {
  paper: card,
  peftType: 'MHR',
  options,
  size: { option: 'rank', kind: 'count' },
  kinds: ['linear'],
  defaultTargets: () => 'all-linear',
  resolve,
  settings(o, site) {
    const { router, tune, trained } = o as Resolved
    const ownRouter = router === 'module'
    const name = ownRouter ? 'logits' : `logits ${routerOf(router, site)}`
    return { ...routedSettings('mhr', o, site, name), trained, tune, ownRouter }
  },
  parameters(site, s) {
    const bound = Math.sqrt(1 / 3 / site.in)
    const A = beginning(
      site,
      s,
      'A',
      uniformWithin(() => bound),
    )
    const logits = {
      key: 'poly_router.module_logits',
      shape: [s.tasks, s.splits * s.skills],
      initial: uniformLogits,
    }
    return {
      ...skillSpecs(site, s, { A, B: beginning(site, s, 'B', zeros) }),
      ...(s.ownRouter && { logits }),
    }
  },
  shared({ router, tasks, splits, skills }, sites) {
    if (router === 'module') return {}
    const names = new Set(sites.map((site) => routerOf(router, site)))
    const shape = [tasks, splits * skills]
    return Object.fromEntries(
      [...names].map((name) => [
        `logits ${name}`,
        { key: `mhr_router.${name}`, shape, initial: uniformLogits, frozen: false },
      ]),
    )
  },
  linear: (y, x, p, s, context) => routed(y, x, p, s, context),
  fold(W, p, s) {
    const { A, B } = routedLora(p, s)
    return W.add(B.matmul(A).div(s.rank))
  },
  asLora: routedLora,
  check: checkTasks('mhr'),
  training: (_, { tune, routingRate: rateScale }) => ({
    moves: (name) => tune === 'all' || isRouter(name) === (tune === 'routing'),
    objective: (usual) => ({
      ...usual,
      optimizer:
        usual.optimizer.grouped?.([{ match: isRouter, rateScale, weightDecay: 0 }]) ?? usual.optimizer,
    }),
  }),
  peft: {
    keys: {
      n_skills: 'skills',
      n_splits: 'splits',
      n_tasks: 'tasks',
      r: 'rank',
      router: 'router',
      routing_rate: 'routingRate',
      tune: 'tune',
    },
  },
  lacks: ['bias'],
}

/**
 * MHR on `base`, a checkpoint or an open model: a model whose parameters are the skills of every target and the routers.
 * A batch names its rows' tasks in `taskIds`: [batch] int32. Throws UsageError for a target that matches nothing, a task
 * that there is not, splits that do not divide a module's widths, and an inventory that is none or was never trained.
 */
export const mhr: AdapterMethod<MhrOptions> = adapter(spec)
