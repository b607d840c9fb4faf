/**
 * @file MHR (Caccia et al. 2022, arXiv 2211.03831): skills mixed for each task by a router, in each of h parts of a
 * module's width by itself; see core/routing.ts for S, h, r and the shapes, inventory.ts for the two kinds of skills. With one
 * part it is Poly without sampling, with one skill it is one LoRA, or one (IA)³. A trained inventory is adapted to a new task whole (MHR), by its row of the router alone (MHR-z),
 * or as the average of its skills, an ordinary LoRA (MHR-µ).
 */
import { z } from 'zod'
import { UsageError } from '../../errors.js'
import type { Model, Parameters } from '../../models/index.js'
import type { Value } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { uniformWithin } from '../core/initial.js'
import { shortest } from '../core/peft-config.js'
import {
  checkTasks,
  type RoutedOptions,
  routedOptions,
  type RoutedSettings,
  routedSettings,
} from '../core/routing.js'
import { poly } from '../poly/poly.js'
import { card } from './card.js'
import { inventories, type SkillKind, skillKinds } from './inventory.js'
import type { Site } from '../../models/sites.js'
import type { AdaptedModel, AdapterMethod, AdapterSpec } from '../core/spec.js'

const routers = ['module', 'block', 'stack', 'model'] as const
const tunings = ['all', 'routing', 'average'] as const

/** Defaults: rank 4, 8 skills, 8 splits. */
export interface MhrOptions extends RoutedOptions {
  /** Kind of skill: low-rank factors, or vectors that multiply outputs, which have no rank. Default 'lora'. */
  readonly skill: SkillKind
  /** Modules that share one router: none ('module'), or those of a block, of a stack of blocks, of the model. Default 'module'. */
  readonly router: (typeof routers)[number]
  /** Parts that train: all (MHR), routers alone (MHR-z), or the average of the skills (MHR-µ). Default 'all'. */
  readonly tune: (typeof tunings)[number]
  /** The routers' learning rate, times that of the skills; without it they stay uniform. Default 100. */
  readonly routingRate: number
  /**
   * Trained inventory (a folder, or a model) to adapt to new tasks: its skills with fresh rows of the router. Rank, skills,
   * their kind, splits, routers and targets are then its own.
   */
  readonly inventory?: string | AdaptedModel
}

/** With the parameters of the inventory that it begins with. */
interface Resolved extends MhrOptions {
  readonly trained?: Parameters<Value>
}

interface Settings extends RoutedSettings, Pick<Resolved, 'skill' | 'trained' | 'tune'> {
  /** Whether the router is this module's, or one that others have too. */
  readonly ownRouter: boolean
}

const routed = routedOptions({ rank: 4, skills: 8, splits: 8 })

/** What an inventory that is given decides. */
const decided = { inventory: 'absent' } as const

/** Options of the same meaning that are taken where these choices are made. */
const takenWhen = (keys: readonly string[], when: object): Record<string, z.ZodType> =>
  Object.fromEntries(
    keys.map((key) => {
      const schema = routed.shape[key] as z.ZodType
      return [key, schema.meta({ description: schema.description, when: [when] })]
    }),
  )

const options: z.ZodObject = routed.extend({
  ...takenWhen(['skills', 'splits', 'targets', 'exclude', 'layers', 'layersPattern'], decided),
  ...takenWhen(['rank'], { skill: ['lora'], ...decided }),
  skill: z
    .enum(skillKinds)
    .default('lora')
    .meta({
      description: 'what a skill is: low-rank factors, or a vector that scales outputs',
      when: [decided],
    }),
  router: z
    .enum(routers)
    .default('module')
    .meta({ description: 'what shares one router', when: [decided] }),
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

/** The kind of skills of an inventory; Poly has one. */
const skillOf = ({ plan }: AdaptedModel): SkillKind => (plan.options as MhrOptions).skill ?? 'lora'

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
  const { untouched } = inventories[skillOf(model)]
  const skills = Object.entries(model.parameters).filter(([name]) => name.endsWith(`.${untouched.key}`))
  if (skills.some(([, { data }]) => data.some((x) => Number(x) !== untouched.value))) return model
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
  const inventory = await openInventory(base, o.inventory)
  const { plan, parameters } = inventory
  const { rank, skills, splits, router = 'module' } = plan.options as MhrOptions
  const sites = plan.sites.map(({ site }) => site)
  return {
    ...o,
    ...{ rank, skills, splits, router, skill: skillOf(inventory) },
    ...(o.tune === 'average' && { skills: 1, splits: 1, router: 'module' }),
    ...{ targets: shortest(base, sites), exclude: undefined, layers: undefined, layersPattern: undefined },
    trained: parameters,
  }
}

const uniformLogits = uniformWithin(() => 1e-3)

const spec: AdapterSpec<MhrOptions, Settings> = {
  paper: card,
  peftType: 'MHR',
  options,
  size: { option: 'rank', kind: 'count' },
  kinds: ['linear'],
  defaultTargets: (base, { skill }) => inventories[skill].targets(base),
  resolve,
  settings(o, site) {
    const { router: shared, skill, tune, trained } = o as Resolved
    const ownRouter = shared === 'module'
    const router = ownRouter ? 'logits' : `logits ${routerOf(shared, site)}`
    const { sides } = inventories[skill]
    return { ...routedSettings('mhr', o, site, { router, sides }), skill, trained, tune, ownRouter }
  },
  parameters(site, s) {
    const beginning = { trained: s.trained, averaged: s.tune === 'average' }
    const logits = {
      key: 'poly_router.module_logits',
      shape: [s.tasks, s.splits * s.skills],
      initial: uniformLogits,
    }
    return { ...inventories[s.skill].skills(site, s, beginning), ...(s.ownRouter && { logits }) }
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
  linear: (y, x, p, s, context) => inventories[s.skill].linear(y, x, p, s, context),
  fold: (W, p, s) => inventories[s.skill].fold(W, p, s),
  foldBias: (b, p, s) => inventories[s.skill].foldBias(b, p, s),
  asLora: (p, s) => inventories[s.skill].asLora(p, s),
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
      skill: 'skill',
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
