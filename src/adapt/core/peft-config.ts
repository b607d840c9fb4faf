/** @file adapter_config.json: what is written of an adapter, and the options that a written one says. */
import type { Adapter, Json, JsonObject } from '../../checkpoint/index.js'
import { hubIdOf } from '../../checkpoint/web.js'
import { CheckpointError } from '../../errors.js'
import type { Model, Task } from '../../models/index.js'
import { heads, type Site, sitesOf } from '../../models/sites.js'
import { allLinear, inLayers, listed, matcher } from '../../models/targets.js'
import { knownKeys, readTable, says, unsupported, writeTable } from './peft-table.js'
import { type Method, moduleNamesOf } from './plan.js'
import type { CommonKey, CommonOptions, Plan } from './spec.js'

const taskTypes: Readonly<Partial<Record<Task, string>>> = {
  causal: 'CAUSAL_LM',
  sequence: 'SEQ_2_SEQ_LM',
  classify: 'SEQ_CLS',
  tokens: 'TOKEN_CLS',
  answer: 'QUESTION_ANS',
}

/** The last part of each name where that says no more than the names do, else the names. */
export const shortest = (model: Model, sites: readonly Site[]): string[] => {
  const chosen = new Set(sites.map(({ name }) => name))
  const others = sitesOf(model, ['linear', 'embedding', 'norm']).filter(({ name }) => !chosen.has(name))
  const last = (name: string): string => name.slice(name.lastIndexOf('.') + 1)
  const taken = new Set(others.map(({ name }) => last(name)))
  return [...new Set([...chosen].map((name) => (taken.has(last(name)) ? name : last(name))))].sort()
}

/** What another program finds the base by: its hub id where it lies in the cache, else the folder. */
export const baseName = ({ checkpoint: { folder } }: Model): string => hubIdOf(folder) ?? folder

const listOrText = (value: string | readonly string[] | undefined): Json =>
  typeof value === 'object' ? [...value] : (value ?? null)

/** `target_modules`: an expression as it is, else names. What the other keys cannot say, the names say. */
const targetModules = ({ base, options, sites, method }: Plan): string | string[] => {
  const { exclude, layers } = options
  const { lacks = [] } = method
  const all = sites.map(({ site }) => site)
  const targets = options.targets && listed(options.targets)
  const isExpression = typeof targets === 'string' && targets !== allLinear
  const hides =
    (exclude && lacks.includes('exclude_modules')) || (layers && lacks.includes('layers_to_transform'))
  // PEFT takes no layers beside an expression.
  if (hides || (isExpression && layers)) return all.map(({ name }) => name)
  if (isExpression) return targets
  if (typeof targets !== 'object') return shortest(base, all)
  // PEFT adapts a module that is named in full whatever its layer.
  const chosen = new Set(all.map(({ name }) => name))
  const others = new Set(layers && moduleNamesOf(base).filter((name) => !chosen.has(name)))
  return targets.filter((name) => !others.has(name))
}

/** The keys that all adapters have. */
const commonConfig = (plan: Plan): JsonObject => {
  const { base, options, method } = plan
  const { exclude, layers, layersPattern, modulesToSave, bias = 'none', targets } = options
  const isExpression =
    typeof targets === 'string' && typeof listed(targets) === 'string' && targets !== allLinear
  const config: JsonObject = {
    auto_mapping: null,
    base_model_name_or_path: baseName(base),
    bias: bias === 'adapted' ? `${method.peftType.toLowerCase()}_only` : bias,
    exclude_modules: listOrText(exclude),
    inference_mode: true,
    layers_pattern: isExpression ? null : listOrText(layersPattern),
    layers_to_transform: layers && !isExpression ? [...layers] : null,
    modules_to_save: modulesToSave?.length ? [...modulesToSave] : null,
    peft_version: '0.21.0',
    revision: null,
    target_modules: targetModules(plan),
    task_type: taskTypes[base.architecture.task(base.config)] ?? null,
  }
  return Object.fromEntries(
    Object.entries(config).filter(([key]) => !method.lacks?.includes(key as CommonKey)),
  )
}

/** adapter_config.json of an adapter, its keys sorted. */
export const configOf = (plan: Plan): JsonObject & { readonly peft_type: string } => {
  const { method, options, base } = plan
  const sites = plan.sites.map(({ site }) => site)
  const config = { ...commonConfig(plan), ...writeTable(method.peft, options, { base, sites }) }
  const sorted = Object.entries(config).sort(([a], [b]) => (a < b ? -1 : 1))
  return { ...Object.fromEntries(sorted), peft_type: method.peftType }
}

const commonKeys: readonly string[] = [
  'auto_mapping',
  'base_model_name_or_path',
  'bias',
  'exclude_modules',
  'inference_mode',
  'layers_pattern',
  'layers_to_transform',
  'modules_to_save',
  'peft_type',
  'peft_version',
  'revision',
  'runtime_config',
  'target_modules',
  'task_type',
]

const biasOf = (method: string, bias: Json | undefined): CommonOptions['bias'] => {
  if (!says(bias) || bias === 'none') return 'none'
  if (bias === 'all') return 'all'
  if (typeof bias === 'string' && bias.endsWith('_only')) return 'adapted'
  throw unsupported(method, 'bias', bias)
}

/** Names, or one expression. A text that looks like a name is an expression too, as it is to PEFT. */
const modulesOf = (json: Json | undefined): string | string[] | undefined => {
  if (!says(json)) return undefined
  if (typeof json !== 'string') return json as string[]
  if (json.toLowerCase() === allLinear) return allLinear
  return typeof listed(json) === 'string' ? json : `(?:${json})`
}

const listIn = <T extends Json>(json: Json | undefined): T[] | undefined =>
  says(json) ? ([json].flat() as T[]) : undefined

/** Modules to save; PEFT names the heads of all classifiers, whichever there is. */
const savedModules = (base: Model, json: Json | undefined): string[] => {
  const modules = moduleNamesOf(base)
  const isThere = (end: string): boolean => modules.some((name) => name.endsWith(end))
  return (listIn<string>(json) ?? []).filter((end) => !heads.has(end) || isThere(end))
}

/** Targets and layers, where PEFT adapts a module that is named in full whatever its layer: then by their names alone. */
const namedInFull = (base: Model, options: CommonOptions): CommonOptions => {
  const { targets, layers, layersPattern, ...others } = options
  const modules = moduleNamesOf(base)
  const full = typeof targets === 'object' && layers ? targets.filter((name) => modules.includes(name)) : []
  if (full.length === 0 || typeof targets !== 'object') return options
  const isNamed = matcher(targets)
  const isInLayers = inLayers({ layers, layersPattern })
  return {
    ...others,
    targets: modules.filter((name) => full.includes(name) || (isNamed(name) && isInLayers(name))),
  }
}

/** The options that all methods have, from the config. */
const commonOptionsOf = (method: Method, base: Model, config: JsonObject): CommonOptions => {
  const targets = modulesOf(config.target_modules)
  const exclude = modulesOf(config.exclude_modules)
  const layers = listIn<number>(config.layers_to_transform)
  const layersPattern = says(config.layers_pattern) ? (config.layers_pattern as string | string[]) : undefined
  return namedInFull(base, {
    ...(targets !== undefined && { targets }),
    ...(exclude !== undefined && { exclude }),
    ...(layers && { layers }),
    ...(layersPattern !== undefined && { layersPattern }),
    modulesToSave: savedModules(base, config.modules_to_save),
    ...(!method.lacks?.includes('bias') && { bias: biasOf(method.paper.id, config.bias) }),
  })
}

/**
 * The options that adapter_config.json says. Keys that PEFT has in no version are named to `warn` and passed over, as PEFT
 * does. Throws CheckpointError for a key that asks for what the method has not, and where the targets are missing.
 */
export const optionsOf = (
  method: Method,
  base: Model,
  { config, folder }: Pick<Adapter, 'config' | 'folder'>,
  warn: (message: string) => void,
): CommonOptions => {
  const place = { base, sites: [] }
  const known = new Set([...commonKeys, ...knownKeys(method.peft, place)])
  const unknown = Object.keys(config).filter((key) => !known.has(key) && says(config[key]))
  if (unknown.length) warn(`${folder}/adapter_config.json: unknown keys are ignored: ${unknown.join(', ')}`)
  const common = commonOptionsOf(method, base, config)
  const read = { ...common, ...readTable(method.paper.id, method.peft, config, place) }
  const options = method.peft.adjust?.(read, config, place) ?? read
  if (options.targets !== undefined || method.lacks?.includes('target_modules')) return options
  throw new CheckpointError(
    'InvalidAdapter',
    `${folder}/adapter_config.json: target_modules is missing: which modules it adapts is unknown.`,
  )
}
