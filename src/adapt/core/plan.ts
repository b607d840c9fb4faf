/**
 * @file Plans: where on a base an adapter stands, which parameters it has there, and which tensors of the base train whole.
 * A plan follows from a method and its options alone; nothing of it is a number that trains.
 */
import { UsageError } from '../../errors.js'
import type { Model } from '../../models/index.js'
import { heads, type Site } from '../../models/sites.js'
import { noSuchModule, type OnUnmatched, targetSites } from '../../models/targets.js'
import { baseTensor, transposed } from '../../models/stored.js'
import { keyOf } from '../../random/index.js'
import { sizeOf, value, type Value, valueOf } from '../../tensor/index.js'
import { rowsBefore, type TokenRows, tokenRows } from './token-rows.js'
import type { AdapterSpec, CommonOptions, Named, ParameterSpec, Plan, PlannedSite } from './spec.js'

/** A method whose options are those of all: what the machinery sees of each. */
export type Method = AdapterSpec<CommonOptions, unknown>

/** The options as the method's schema has them, defaults filled in. Throws UsageError for the first that does not fit. */
export const checked = (method: Method, options: object): CommonOptions => {
  const result = method.options.safeParse(options)
  if (result.success) return result.data as CommonOptions
  const [{ path, message }] = result.error.issues
  throw new UsageError('BadOption', `${method.paper.id}: ${path.join('.') || 'options'}: ${message}`)
}

/**
 * The plan of `method` on `base`. options: as `checked` gives them. Throws UsageError for targets that match nothing, for one
 * entry of a list or one module to save that does (but where `unmatched` is given: it is told), for a module that would be
 * both adapted and trained whole, and for options that a module cannot have.
 */
export const planOf = (
  method: Method,
  base: Model,
  options: CommonOptions,
  unmatched: OnUnmatched = (error) => {
    throw error
  },
): Plan => {
  const complete = { ...options, modulesToSave: options.modulesToSave ?? classifiers(base) }
  const saved = savedTensors(method, base, complete.modulesToSave, unmatched)
  const targets = options.targets ?? method.defaultTargets?.(base, complete)
  const { kinds, paper } = method
  const targeted = kinds.length ? targetSites(paper.id, base, kinds, { ...complete, targets }, unmatched) : []
  const sites = targeted.filter(({ name }) => !saved.includes(`${name}.weight`))
  requireApart(method, options, targeted)
  const planned = sites.map((site) => {
    const settings = method.settings(complete, site, sites)
    return { site, settings, parameters: method.parameters(site, settings) }
  })
  const shared = method.shared?.(complete, sites, base) ?? {}
  const biases = trainedBiases(base, complete, planned).filter((name) => !saved.includes(name))
  const rows = tokenRows(paper.id, base, method.tokens?.(complete) ?? {})
  requireOneWay(paper.id, rows, [...saved, ...sites.map(({ name }) => `${name}.weight`)])
  return {
    method,
    base,
    options: complete,
    sites: planned,
    shared,
    whole: [...saved, ...biases],
    rows,
    held: [],
  }
}

/**
 * Throws UsageError for a module that was chosen to be adapted and ends as a module to save, without being one or within one
 * (q_proj with 'proj'): PEFT refuses it.
 */
const requireApart = (
  { paper }: Method,
  { targets, modulesToSave = [] }: CommonOptions,
  targeted: readonly Site[],
): void => {
  if (targets === undefined) return
  for (const end of modulesToSave)
    for (const { name } of targeted)
      if (name.endsWith(end) && !`.${name}.`.includes(`.${end}.`))
        throw new UsageError(
          'ModuleTwice',
          `${paper.id}: ${name} is a target, and ends as the module to save '${end}'`,
          {
            hint: 'Modules to save match the ends of names. Give more of the name, or leave the module out (exclude).',
          },
        )
}

/** Throws UsageError for an embedding of which single tokens train, and that is adapted or trained whole besides. */
const requireOneWay = (method: string, rows: readonly TokenRows[], others: readonly string[]): void => {
  const twice = rows.find(({ module }) => others.includes(`${module}.weight`))
  if (!twice) return
  throw new UsageError(
    'ModuleTwice',
    `${method}: single tokens of ${twice.module} train, and all of it besides`,
    {
      hint: 'Leave it out of the targets and the modules to save, or train no single tokens.',
    },
  )
}

/** The biases of the base that train with the option `bias`. */
const trainedBiases = (base: Model, { bias }: CommonOptions, sites: readonly PlannedSite[]): string[] => {
  const adapted = new Set(sites.map(({ site }) => `${site.name}.bias`))
  return base.architecture
    .table(base.config)
    .map(({ name }) => name)
    .filter((name) => name.endsWith('.bias') && (bias === 'all' || (bias === 'adapted' && adapted.has(name))))
}

/** The names of a classifier's own layers, which PEFT trains whole for the task; of any other model none. */
export const classifiers = ({ architecture, config }: Model): string[] => {
  if (!['classify', 'tokens', 'answer'].includes(architecture.task(config))) return []
  const headModules = architecture.table(config).flatMap(({ name }) => {
    const parts = name.split('.').slice(0, -1)
    // A head of two layers is trained as the module that holds both.
    const prefixes = parts.map((_, i) => parts.slice(0, i + 1).join('.'))
    return prefixes.find((prefix) => heads.has(prefix)) ?? []
  })
  return [...new Set(headModules)]
}

/** Names of the modules of `base`, those without tensors of their own among them. */
export const moduleNamesOf = (base: Model): string[] => {
  const names = new Set<string>()
  for (const { name } of base.architecture.table(base.config)) {
    const parts = name.split('.')
    for (let length = 1; length < parts.length; length++) names.add(parts.slice(0, length).join('.'))
  }
  return [...names]
}

/** The tensors of the modules whose names end as one of `modulesToSave`, as PEFT finds them. */
const savedTensors = (
  method: Method,
  base: Model,
  modulesToSave: readonly string[],
  unmatched: OnUnmatched,
): string[] => {
  const modules = moduleNamesOf(base)
  for (const end of modulesToSave)
    if (!modules.some((name) => name.endsWith(end)))
      unmatched(noSuchModule(method.paper.id, base, 'module', end, modules))
  const saved = modules.filter((name) => modulesToSave.some((end) => name.endsWith(end)))
  return base.architecture
    .table(base.config)
    .map(({ name }) => name)
    .filter((name) => saved.some((module) => name.startsWith(`${module}.`)))
}

/** How many numbers of a plan follow the gradient. */
export const trainedNumbers = (plan: Plan): number => {
  const { base, shared, whole } = plan
  const table = new Map(base.architecture.table(base.config).map(({ name, shape }) => [name, shape]))
  const shapes = [
    ...parameterSpecs(plan).flatMap(({ spec }) => (spec.still ? [] : [spec.shape])),
    ...Object.values(shared).flatMap(({ frozen, shape }) => (frozen ? [] : [shape])),
    ...whole.map((name) => table.get(name)!),
    ...uniqueRows(plan).map(({ indices, shape }) => [indices.length, shape[1]]),
  ]
  return shapes.reduce((sum, shape) => sum + sizeOf(shape), 0)
}

/** The rows that are parameters of their own: heads that follow an embedding apart. */
export const uniqueRows = ({ rows }: Pick<Plan, 'rows'>): TokenRows[] =>
  rows.filter(({ parameter }, i) => rows.findIndex((other) => other.parameter === parameter) === i)

/** Whether plain weights can do what the method does: it says which, or only replaces tensors. */
export const isFoldable = ({ fold, linear, embedding, attend, module, forward }: Method): boolean =>
  fold !== undefined || !(linear ?? embedding ?? attend ?? module ?? forward)

/** Whether the method does nothing but change outputs of linear modules, each by itself. */
export const isAdditive = ({ linear, attend, module, forward }: Method): boolean =>
  linear !== undefined && !(attend ?? module ?? forward)

/** The tensors of the base in whose place a parameter stands, with that parameter's name. */
export const replacements = ({ whole, sites }: Plan): Map<string, string> => {
  const replaced = sites.flatMap(({ site, parameters }) =>
    Object.values(parameters).flatMap(({ key, replaces }) =>
      replaces ? [[`${site.name}.${replaces}`, `${site.name}.${key}`] as const] : [],
    ),
  )
  return new Map([...whole.map((name) => [name, name] as const), ...replaced])
}

/** Every parameter's name in the model, with its description; those trained whole or shared have none. */
export const parameterSpecs = ({ sites }: Plan): { name: string; spec: ParameterSpec; at: PlannedSite }[] =>
  sites.flatMap((at) =>
    Object.values(at.parameters).map((spec) => ({ name: `${at.site.name}.${spec.key}`, spec, at })),
  )

/** What the method sees at a site: of all `values`, those that sites share and the site's own, under the method's names. */
export const valuesAt = <T>(
  { shared }: Pick<Plan, 'shared'>,
  { site, parameters }: PlannedSite,
  values: Readonly<Record<string, T>>,
): Named<T> => ({
  ...Object.fromEntries(Object.entries(shared).map(([name, { key }]) => [name, values[key]])),
  ...Object.fromEntries(
    Object.entries(parameters).map(([name, { key }]) => [name, values[`${site.name}.${key}`]]),
  ),
})

/** The values of all parameters before training; those that stand for tensors of the base are the base's. */
export const initialParameters = async (plan: Plan): Promise<Record<string, Value>> => {
  const { base, options, shared, whole } = plan
  const keyFor = (name: string): ReturnType<typeof keyOf> => keyOf(`${options.seed ?? 0}/${name}`)
  const parameters: Record<string, Value> = {}
  for (const { name, spec, at: planned } of parameterSpecs(plan))
    parameters[name] = await spec.initial({
      shape: spec.shape,
      key: keyFor(name),
      ...tensorsAt(base, planned),
    })
  for (const { key: name, shape, initial } of Object.values(shared))
    parameters[name] = await initial({
      shape,
      key: keyFor(name),
      tensor: (wanted) => baseTensor(base, wanted),
    })
  for (const name of whole) parameters[name] = await baseTensor(base, name)
  for (const rows of uniqueRows(plan)) parameters[rows.parameter] = await rowsBefore(base, rows)
  return parameters
}

/** The weight of a module, [out, in], and its bias, [out]: zeros where it has none. */
const tensorsAt = (base: Model, { site }: PlannedSite) => ({
  async weight(): Promise<Value> {
    const stored = await baseTensor(base, `${site.name}.weight`)
    return site.transposed ? transposed(stored) : stored
  },
  bias: (): Promise<Value> =>
    site.bias
      ? baseTensor(base, `${site.name}.bias`)
      : Promise.resolve(valueOf(new Float32Array(site.out), [site.out])),
})

/** Parameters with their numbers read, as values in memory. */
export const inMemory = async (parameters: Named<Value>): Promise<Named<Value>> => {
  const read = Object.entries(parameters).map(
    async ([name, v]) => [name, value(await v.read(), v.shape, v.dtype)] as const,
  )
  return Object.fromEntries(await Promise.all(read))
}
