/**
 * @file `adapter`: what a method says of itself becomes a function of a base and options. Targets, modules trained whole,
 * the answers to the seam, PEFT's folders and folding are the same for all methods, and no method's business.
 */
import type { Adapter, Checkpoint } from '../../checkpoint/index.js'
import { CheckpointError, UsageError, WeftError } from '../../errors.js'
import {
  answering,
  type Architecture,
  layoutsOf,
  type Model,
  type ModelInputs,
  type ModelOutputs,
  openModel,
  type Parameters,
  type Positions,
  requireSame,
  type Trace,
  type Weights,
} from '../../models/index.js'
import { keyOf } from '../../random/index.js'
import { sizeOf, type Tensor, type Value, valueOf } from '../../tensor/index.js'
import { baseTensor, frozen, transposed } from '../../models/stored.js'
import { heads, noSuchModule, targetSites } from '../../models/sites.js'
import type { Training } from '../../train/index.js'
import type {
  AdaptedModel,
  AdapterMethod,
  AdapterSpec,
  CommonOptions,
  Named,
  ParameterSpec,
  Plan,
  PlannedSite,
  SiteContext,
} from './spec.js'

const isModel = (base: Checkpoint | Model): base is Model => 'architecture' in base

export const asModel = async (base: Checkpoint | Model): Promise<Model> =>
  isModel(base) ? base : openModel(base)

/** The method that `spec` describes. */
export const adapter = <O extends CommonOptions, S>(spec: AdapterSpec<O, S>): AdapterMethod<O> => {
  const method = spec as unknown as AdapterSpec<CommonOptions, unknown>
  const planFor = async (model: Model, options: Partial<O>): Promise<Plan> => {
    const given = checked(method, options)
    return planOf(method, model, (await method.resolve?.(model, given)) ?? given)
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
    const plan = asItsFault(saved, () =>
      planOf(
        method,
        model,
        checked(method, { ...optionsFromPeft(method, model, saved, options), ...options?.replace }),
      ),
    )
    const parameters = await loadParameters(plan, saved, options)
    return assembleAll(await onItsBase(plan), parameters)
  }
  const { paper, source, reproduction, peftType, options, size } = spec
  const folds = foldable(method)
  return Object.assign(create, { paper, source, reproduction, peftType, options, size, folds, count, load })
}

/** The plan on the base as its method computes with it. */
const onItsBase = async (plan: Plan): Promise<Plan> => {
  const base = await plan.method.rewrite?.(plan.base, plan.options)
  return base ? { ...plan, base } : plan
}

/** How many numbers of a plan follow the gradient. */
const trainedNumbers = (plan: Plan): number => {
  const { base, shared, whole } = plan
  const own = parameterSpecs(plan).flatMap(({ spec }) => (spec.still ? [] : [spec.shape]))
  const common = Object.values(shared).flatMap(({ frozen, shape }) => (frozen ? [] : [shape]))
  const table = new Map(base.architecture.table(base.config).map(({ name, shape }) => [name, shape]))
  const shapes = [...own, ...common, ...whole.map((name) => table.get(name)!)]
  return shapes.reduce((sum, shape) => sum + sizeOf(shape), 0)
}

/** Whether plain weights can do what it does: it says which, or only replaces tensors. */
export const foldable = (method: AdapterSpec<CommonOptions, unknown>): boolean => {
  const { fold, linear, embedding, attend, module, forward } = method
  return fold !== undefined || !(linear ?? embedding ?? attend ?? module ?? forward)
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

const checked = (method: AdapterSpec<CommonOptions, unknown>, options: object): CommonOptions => {
  const result = method.options.safeParse(options)
  if (result.success) return result.data as CommonOptions
  const [{ path, message }] = result.error.issues
  throw new UsageError('BadOption', `${method.paper.id}: ${path.join('.') || 'options'}: ${message}`)
}

const planOf = (method: AdapterSpec<CommonOptions, unknown>, base: Model, given: CommonOptions): Plan => {
  const table = base.architecture.table(base.config)
  const options = { ...given, modulesToSave: given.modulesToSave ?? classifiers(base) }
  const saved = savedTensors(method, base, options.modulesToSave)
  const targets = options.targets ?? method.defaultTargets?.(base, options)
  const { kinds, paper } = method
  const found = kinds.length ? targetSites(paper.id, base, kinds, { ...options, targets }) : []
  const chosen = found.filter(({ name }) => !saved.includes(`${name}.weight`))
  const sites = chosen.map((site) => {
    const settings = method.settings(options, site, chosen)
    return { site, settings, parameters: method.parameters(site, settings) }
  })
  const adapted = new Set(sites.map(({ site }) => `${site.name}.bias`))
  const trains = ({ bias }: CommonOptions, name: string): boolean =>
    bias === 'all' || (bias === 'adapted' && adapted.has(name))
  const biases = table
    .map(({ name }) => name)
    .filter((name) => name.endsWith('.bias') && !saved.includes(name) && trains(options, name))
  const shared = method.shared?.(options, chosen, base) ?? {}
  return { method, base, options, sites, shared, whole: [...saved, ...biases] }
}

/** A classifier's own layers: what PEFT trains whole for the task. */
export const classifiers = ({ architecture, config }: Model): string[] =>
  architecture.task(config) === 'classify'
    ? architecture.table(config).flatMap(({ name }) => {
        const module = name.slice(0, -'.weight'.length)
        return name.endsWith('.weight') && heads.has(module) ? [module] : []
      })
    : []

/** The tensors of the modules to save. Throws UsageError for a name that is none. */
const savedTensors = (
  method: AdapterSpec<CommonOptions, unknown>,
  base: Model,
  modulesToSave: readonly string[],
): string[] => {
  const tensors = base.architecture.table(base.config).map(({ name }) => name)
  const parts = tensors.map((name) => name.split('.'))
  const modules = new Set(parts.flatMap((p) => p.slice(1).map((_, i) => p.slice(0, i + 1).join('.'))))
  const saved = modulesToSave.flatMap((target) => {
    const matched = [...modules].filter((name) => name === target || name.endsWith(`.${target}`))
    if (matched.length === 0) throw noSuchModule(method.paper.id, base, 'module', target, [...modules])
    return tensors.filter((name) => matched.some((module) => name.startsWith(`${module}.`)))
  })
  return [...new Set(saved)]
}

/** Which parameter stands for which tensor of the base. */
export const replacements = ({ whole, sites }: Plan): Map<string, string> => {
  const own = sites.flatMap(({ site, parameters }) =>
    Object.values(parameters).flatMap(({ key, replaces }) =>
      replaces ? [[`${site.name}.${replaces}`, `${site.name}.${key}`] as const] : [],
    ),
  )
  return new Map([...whole.map((name) => [name, name] as const), ...own])
}

/** Every parameter's name in the model, with its description; those trained whole or shared have none. */
export const parameterSpecs = ({ sites }: Plan): { name: string; spec: ParameterSpec; at: PlannedSite }[] =>
  sites.flatMap((at) =>
    Object.values(at.parameters).map((spec) => ({ name: `${at.site.name}.${spec.key}`, spec, at })),
  )

const initialParameters = async (plan: Plan): Promise<Record<string, Value>> => {
  const { base, options } = plan
  const parameters: Record<string, Value> = {}
  for (const { name, spec, at } of parameterSpecs(plan)) {
    const weight = async (): Promise<Value> => {
      const w = await baseTensor(base, `${at.site.name}.weight`)
      return at.site.transposed ? transposed(w) : w
    }
    const bias = async (): Promise<Value> =>
      at.site.bias
        ? baseTensor(base, `${at.site.name}.bias`)
        : valueOf(new Float32Array(at.site.out), [at.site.out])
    const key = keyOf(`${options.seed ?? 0}/${name}`)
    parameters[name] = await spec.initial({ shape: spec.shape, key, weight, bias })
  }
  for (const { key: name, shape, initial } of Object.values(plan.shared))
    parameters[name] = await initial({
      shape,
      key: keyOf(`${options.seed ?? 0}/${name}`),
      tensor: (name) => baseTensor(base, name),
    })
  for (const name of plan.whole) parameters[name] = await baseTensor(base, name)
  return parameters
}

/** The base's answers, changed by the adapter with the parameters `tensors` (shared ones that are frozen among them). */
const answers = (plan: Plan, tensors: Parameters<Tensor>, trace: Trace): Weights => {
  const { method, base, sites, shared } = plan
  const below = base.weights(frozen(base), trace)
  const replaced = new Map([...replacements(plan)].map(([name, parameter]) => [name, tensors[parameter]]))
  const tensor = (name: string): Tensor => replaced.get(name) ?? below.tensor(name)
  const has = (name: string): boolean => replaced.has(name) || below.has(name)
  const inputs = new Map<string, Tensor>()
  const retold = answering(below, { tensor, has }, layoutsOf(base.architecture.table(base.config)))
  const isRetold = (module: string): boolean =>
    replaced.has(`${module}.weight`) || replaced.has(`${module}.bias`)
  const under = (module: string): Weights => (isRetold(module) ? retold : below)
  const planned = new Map(sites.map((at) => [at.site.name, at]))
  const at = ({ site, parameters }: PlannedSite): { p: Named<Tensor>; context: SiteContext } => {
    const own = Object.entries(parameters).map(([k, { key }]) => [k, tensors[`${site.name}.${key}`]])
    const common = Object.entries(shared).map(([k, { key }]) => [k, tensors[key]])
    const context = {
      site,
      weight: () => (site.transposed ? tensor(`${site.name}.weight`).t() : tensor(`${site.name}.weight`)),
      bias: () => (has(`${site.name}.bias`) ? tensor(`${site.name}.bias`) : undefined),
      base: (x: Tensor) => under(site.name).linear(site.name, x),
      entered(...names: readonly string[]) {
        const name = names.find((known) => inputs.has(known))
        if (name !== undefined) return inputs.get(name)!
        const wanted = names.join(' or ')
        throw new WeftError('NotEntered', `${method.paper.id}: nothing entered ${wanted} before ${site.name}`)
      },
      input: (name: string) => trace.inputs?.[name],
      random: trace.random,
      dropout: below.dropout,
    }
    return { p: Object.fromEntries([...common, ...own]) as Named<Tensor>, context }
  }
  const common = new Map(Object.values(shared).map(({ key }) => [key, tensors[key]]))
  return answering(below, {
    tensor: (name) => common.get(name) ?? tensor(name),
    has,
    linear(name, x) {
      inputs.set(name, x)
      const [y, site] = [under(name).linear(name, x), planned.get(name)]
      if (!site || !method.linear) return y
      const { p, context } = at(site)
      return method.linear(y, x, p, site.settings, context)
    },
    embedding(name, ids) {
      const [y, site] = [under(name).embedding(name, ids), planned.get(name)]
      if (!site || !method.embedding) return y
      const { p, context } = at(site)
      return method.embedding(y, ids, p, site.settings, context)
    },
    conv: (name, x, options) => under(name).conv(name, x, options),
    attend(name, parts, core) {
      const site = planned.get(name)
      if (!site || !method.attend) return below.attend(name, parts, core)
      const { p, context } = at(site)
      return method.attend(parts, (own) => below.attend(name, own, core), p, site.settings, context)
    },
    module(name, x, positions, body) {
      const site = planned.get(name)
      if (!site || !method.module) return below.module(name, x, positions, body)
      const { p, context } = at(site)
      const run = (x: Tensor, at: Positions): Tensor => below.module(name, x, at, body)
      return method.module(x, positions, run, p, site.settings, context)
    },
  })
}

/** The base's architecture; where the method goes around the whole model, with it there. */
const architectureOf = ({ method, base, shared, options }: Plan): Architecture => {
  const { architecture } = base
  if (!method.forward) return architecture
  return {
    ...architecture,
    virtual: method.virtual?.(options),
    forward(weights, inputs, config) {
      const p = Object.entries(shared).map(([k, { key }]) => [k, weights.tensor(key)] as const)
      const run = (given: ModelInputs): ModelOutputs => architecture.forward(weights, given, config)
      return method.forward!(inputs, run, Object.fromEntries(p), { base, options, weights })
    },
  }
}

/** The model of all its values, those that never train apart. */
const assembleAll = (plan: Plan, values: Parameters<Value>): AdaptedModel => {
  const still = new Set(Object.values(plan.shared).flatMap(({ key, frozen }) => (frozen ? [key] : [])))
  const [constants, parameters] = [true, false].map((wanted) =>
    Object.fromEntries(Object.entries(values).filter(([name]) => still.has(name) === wanted)),
  )
  return assemble(plan, parameters, constants)
}

/** The method's own wishes, and its still parameters kept from the gradient. */
const trainingFor = (plan: Plan): Training => {
  const still = new Set(parameterSpecs(plan).flatMap(({ name, spec }) => (spec.still ? [name] : [])))
  const own = plan.method.training?.(plan, plan.options) ?? {}
  return { ...own, moves: (name) => !still.has(name) && (own.moves?.(name) ?? true) }
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
  weights: (tensors, trace) => answers(plan, { ...tensors, ...frozen({ parameters: constants }) }, trace),
  with(values) {
    requireSame(parameters, values)
    return assemble(plan, values, constants)
  },
  exported: () => exportedFrom(plan, { ...parameters, ...constants }),
  async save(folder) {
    const { saveAdapter } = await import('./peft.js')
    const { plan: saved, ...model } = await exportedFrom(plan, { ...parameters, ...constants })
    await saveAdapter(saved, { ...model.parameters, ...model.constants }, folder)
  },
  async toLora() {
    const { toLora } = await import('../lora/export.js')
    return toLora(plan, { ...parameters, ...constants })
  },
  async fold(folder, options) {
    const { foldInto } = await import('./fold.js')
    await foldInto(plan, { ...parameters, ...constants }, folder, options)
  },
})
