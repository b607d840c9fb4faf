/**
 * @file `adapter`: what a method says of itself becomes a function of a base and options. Targets, modules trained whole,
 * the answers to the seam, PEFT's folders and folding are the same for all methods, and no method's business.
 */
import type { Adapter, Checkpoint } from '../../checkpoint/index.js'
import { CheckpointError, UsageError } from '../../errors.js'
import { type Model, openModel, type Parameters, requireSame } from '../../models/index.js'
import { frozen } from '../../models/stored.js'
import type { Value } from '../../tensor/index.js'
import type { Training } from '../../train/index.js'
import { answersOf, architectureOf } from './answers.js'
import {
  checked,
  initialParameters,
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
    return planOf(method, model, (await method.resolve?.(model, complete)) ?? complete)
  }
  const create = async (base: Checkpoint | Model, options: Partial<O> = {}): Promise<AdaptedModel> => {
    const plan = await onItsBase(await planFor(await asModel(base), options))
    return assembleAll(plan, await initialParameters(plan))
  }
  const count: AdapterMethod<O>['count'] = async (base, options = {}) =>
    trainedNumbers(await planFor(base, options))
  const load: AdapterMethod<O>['load'] = async (base, saved, options) => {
    const { loadParameters, optionsFromPeft } = await import('./peft.js')
    const model = await asModel(base)
    const read = { ...optionsFromPeft(method, model, saved, options), ...options?.replace }
    const plan = asItsFault(saved, () => planOf(method, model, checked(method, read)))
    const parameters = await loadParameters(plan, saved, options)
    return assembleAll(await onItsBase(plan), parameters)
  }
  const { paper, peftType, options, size } = spec
  const folds = isFoldable(method)
  return Object.assign(create, { paper, peftType, options, size, folds, count, load })
}

/** The plan on the base as its method computes with it. */
const onItsBase = async (plan: Plan): Promise<Plan> => {
  const base = await plan.method.rewrite?.(plan.base, plan.options)
  return base ? { ...plan, base } : plan
}

/** Options that make no sense are the adapter's fault here, not the caller's. */
const asItsFault = <T>({ folder }: Adapter, work: () => T): T => {
  try {
    return work()
  } catch (cause) {
    if (!(cause instanceof UsageError)) throw cause
    const { code, message, hint } = cause
    const said = hint ? message.slice(0, -`\n  ${hint}`.length) : message
    throw new CheckpointError(code, `${folder}: ${said}`, { hint, cause })
  }
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
  return assembleAll(planOf(method, base, { ...options, ...changed.options }), changed.parameters)
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
