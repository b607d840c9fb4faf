/**
 * @file `adapter`: what a method says of itself becomes a function of a base and options. Targets, modules trained whole,
 * the answers to the seam, PEFT's folders and folding are the same for all methods, and no method's business.
 */
import type { Checkpoint } from '../../checkpoint/index.js'
import { type Model, openModel, type Parameters, requireSame } from '../../models/index.js'
import { frozen } from '../../models/stored.js'
import type { Value } from '../../tensor/index.js'
import type { Training } from '../../train/index.js'
import { answersOf, architectureOf } from './answers.js'
import {
  checked,
  initialParameters,
  isAdditive,
  isFoldable,
  type Method,
  parameterSpecs,
  planOf,
  trainedNumbers,
} from './plan.js'
import type { AdaptedModel, AdapterMethod, AdapterSpec, CommonOptions, Plan } from './spec.js'

const isModel = (base: Checkpoint | Model): base is Model => 'architecture' in base

const asModel = async (base: Checkpoint | Model): Promise<Model> => (isModel(base) ? base : openModel(base))

/** The method that `spec` describes. */
export const adapter = <O extends CommonOptions, S>(spec: AdapterSpec<O, S>): AdapterMethod<O> => {
  const method = spec as unknown as Method
  const planFor = async (model: Model, options: Partial<O>): Promise<Plan> => {
    const complete = checked(method, options)
    const plan = planOf(method, model, (await method.resolve?.(model, complete)) ?? complete)
    for (const { site } of plan.sites) method.fits?.(plan.options, site)
    return plan
  }
  const create = async (base: Checkpoint | Model, options: Partial<O> = {}): Promise<AdaptedModel> => {
    const plan = await onItsBase(await planFor(await asModel(base), options))
    return assembleAll(plan, await initialParameters(plan))
  }
  const count: AdapterMethod<O>['count'] = async (base, options = {}) =>
    trainedNumbers(await planFor(base, options))
  const load: AdapterMethod<O>['load'] = async (base, saved, options = {}) => {
    const { loadAdapted } = await import('./load.js')
    const { withSavedHead } = await import('./saved-head.js')
    const headed = isModel(base) ? base : await withSavedHead(base, saved)
    const { plan, parameters } = await loadAdapted(method, await asModel(headed), saved, options)
    return assembleAll(await onItsBase(plan), parameters)
  }
  const { paper, peftType, options, size } = spec
  const folds = isFoldable(method)
  const additive = isAdditive(method)
  return Object.assign(create, { paper, peftType, options, size, folds, additive, count, load })
}

/** The plan on the base as its method computes with it. */
const onItsBase = async (plan: Plan): Promise<Plan> => {
  const base = await plan.method.rewrite?.(plan.base, plan.options)
  return base ? { ...plan, base } : plan
}

/** The model of all its values, those that never train apart. */
const assembleAll = (plan: Plan, values: Parameters<Value>): AdaptedModel => {
  const still = new Set(Object.values(plan.shared).flatMap(({ key, frozen }) => (frozen ? [key] : [])))
  const entries = Object.entries(values)
  const parameters = Object.fromEntries(entries.filter(([name]) => !still.has(name)))
  const constants = Object.fromEntries(entries.filter(([name]) => still.has(name)))
  return assemble(plan, parameters, constants)
}

/** The method's own wishes, and its still parameters kept from the gradient. */
const trainingFor = (plan: Plan): Training => {
  const still = new Set(parameterSpecs(plan).flatMap(({ name, spec }) => (spec.still ? [name] : [])))
  const wanted = plan.method.training?.(plan, plan.options) ?? {}
  return { ...wanted, moves: (name) => !still.has(name) && (wanted.moves?.(name) ?? true) }
}

/** The adapter without what only its training needs. */
const exportedFrom = async (plan: Plan, values: Parameters<Value>): Promise<AdaptedModel> => {
  const { method, base, options } = plan
  const changed = await method.export?.(plan, values, options)
  if (!changed) return assembleAll(plan, values)
  const exported = planOf(method, base, { ...options, ...changed.options })
  return assembleAll({ ...exported, held: plan.held }, changed.parameters)
}

const assemble = (plan: Plan, parameters: Parameters<Value>, constants: Parameters<Value>): AdaptedModel => ({
  plan,
  architecture: architectureOf(plan),
  config: plan.base.config,
  checkpoint: plan.base.checkpoint,
  parameters,
  constants,
  training: trainingFor(plan),
  check: (batch) => plan.method.check?.(batch, plan.options),
  weights: (tensors, trace) => answersOf(plan, { ...tensors, ...frozen({ parameters: constants }) }, trace),
  with(values) {
    requireSame(parameters, values)
    return assemble(plan, values, constants)
  },
  exported: () => exportedFrom(plan, { ...parameters, ...constants }),
  async save(folder) {
    const { saveAdapter } = await import('./peft.js')
    const saved = await exportedFrom(plan, { ...parameters, ...constants })
    await saveAdapter(saved.plan, { ...saved.parameters, ...saved.constants }, folder)
  },
  async fold(folder, options) {
    const { foldInto } = await import('./fold.js')
    await foldInto(plan, { ...parameters, ...constants }, folder, options)
  },
})
