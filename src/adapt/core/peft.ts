/** @file Adapters as PEFT's folders: what its files call things, and what a loaded one must agree with. */
import {
  hubIdOf,
  type Adapter,
  adapterPrefix,
  checkNames,
  encode,
  type JsonObject,
  type TensorData,
  valueDType,
  withFloats,
  writeAdapter,
} from '../../checkpoint/index.js'
import { CheckpointError } from '../../errors.js'
import type { Model, Parameters, Task } from '../../models/index.js'
import { type DType, isFloat, value, type Value } from '../../tensor/index.js'
import { parameterSpecs } from './plan.js'
import type { AdapterSpec, CommonKey, CommonOptions, LoadOptions, Plan } from './spec.js'
import { fingerprint } from '../../models/stored.js'
import { listed, type Site, sitesOf } from '../../models/sites.js'

const taskTypes: Readonly<Partial<Record<Task, string>>> = {
  causal: 'CAUSAL_LM',
  sequence: 'SEQ_2_SEQ_LM',
  classify: 'SEQ_CLS',
}

const metadataKey = 'weft_base_sha256'

/** What the file calls the parameter `name`. PEFT wraps an adapted module, so that its bias is one level deeper. */
const fileName = ({ sites, shared }: Plan, name: string): string => {
  const common = Object.values(shared).find(({ key }) => key === name)
  if (common) return common.file ?? `base_model.${name}`
  const module = name.slice(0, name.lastIndexOf('.'))
  const wrapped = name.endsWith('.bias') && sites.some(({ site }) => site.name === module)
  return `${adapterPrefix}${wrapped ? `${module}.base_layer.bias` : name}`
}

/** Every parameter's name, shape and name in the file. */
const expected = (plan: Plan): { name: string; parameter: string; shape: readonly number[] }[] => {
  const shapes = new Map(plan.base.architecture.table(plan.base.config).map((s) => [s.name, s.shape]))
  return [
    ...parameterSpecs(plan).map(({ name, spec: { shape } }) => ({ parameter: name, shape })),
    ...Object.values(plan.shared).map(({ key, shape }) => ({ parameter: key, shape })),
    ...plan.whole.map((name) => ({ parameter: name, shape: shapes.get(name)! })),
  ].map((entry) => ({ ...entry, name: fileName(plan, entry.parameter) }))
}

/** Of the weights that it stands at: the modules' own, all those within a block, or where it stands nowhere all there are. */
const fingerprintOf = ({ base, sites }: Plan): Promise<string> => {
  const all = base.architecture.table(base.config).map(({ name }) => name)
  const within = ({ name, kind }: Site): string[] =>
    kind === 'attention' || kind === 'block'
      ? all.filter((tensor) => tensor.startsWith(`${name}.`))
      : [`${name}.weight`]
  return fingerprint(base, sites.length ? sites.flatMap(({ site }) => within(site)) : all)
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
const baseName = ({ checkpoint: { folder } }: Model): string => hubIdOf(folder) ?? folder

const commonConfig = ({ base, options, sites, method }: Plan): JsonObject => {
  const { exclude, layers, layersPattern, modulesToSave, bias = 'none' } = options
  const targets = options.targets && listed(options.targets)
  const isPattern = typeof targets === 'string' && targets !== 'all-linear'
  const all = sites.map(({ site }) => site)
  const names = typeof targets === 'object' ? [...targets] : shortest(base, all)
  const { lacks = [] } = method
  // What the config cannot say otherwise, the names say.
  const narrowed =
    (exclude && lacks.includes('exclude_modules')) || (layers && lacks.includes('layers_to_transform'))
  const config = {
    auto_mapping: null,
    base_model_name_or_path: baseName(base),
    bias: bias === 'adapted' ? `${method.peftType.toLowerCase()}_only` : bias,
    exclude_modules: exclude === undefined ? null : typeof exclude === 'string' ? exclude : [...exclude],
    inference_mode: true,
    layers_pattern: layersPattern ?? null,
    layers_to_transform: layers ? [...layers] : null,
    modules_to_save: modulesToSave?.length ? [...modulesToSave] : null,
    peft_version: '0.21.0',
    revision: null,
    target_modules: narrowed ? all.map(({ name }) => name) : isPattern ? targets : names,
    task_type: taskTypes[base.architecture.task(base.config)] ?? null,
  }
  return Object.fromEntries(Object.entries(config).filter(([key]) => !lacks.includes(key as CommonKey)))
}

/** Writes the adapter as a PEFT folder; the metadata of its tensors name the base by its fingerprint. */
export const saveAdapter = async (
  plan: Plan,
  parameters: Parameters<Value>,
  folder: string,
): Promise<void> => {
  const tensors = expected(plan).map(async ({ name, parameter }): Promise<TensorData> => {
    const v = parameters[parameter]
    return { name, ...encode(value(await v.read(), v.shape, v.dtype)) }
  })
  const own = plan.method.toPeft(
    plan.options,
    plan.sites.map(({ site }) => site),
    plan.base,
  )
  const config = { ...commonConfig(plan), ...own, peft_type: plan.method.peftType }
  await writeAdapter(folder, withFloats(config), await Promise.all(tensors), {
    base: baseName(plan.base),
    metadata: { [metadataKey]: await fingerprintOf(plan) },
  })
}

const warnBy = ({ onWarning }: LoadOptions): ((message: string) => void) =>
  onWarning ?? ((message) => console.warn(message))

const commonKeys = [
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
  'target_modules',
  'task_type',
]

const biasOf = (bias: unknown): CommonOptions['bias'] =>
  bias === 'all' ? 'all' : typeof bias === 'string' && bias.endsWith('_only') ? 'adapted' : 'none'

const listOf = (json: JsonObject, key: string): string[] | undefined => {
  const found = json[key]
  if (found === null || found === undefined) return undefined
  return (Array.isArray(found) ? found : [found]) as string[]
}

/** The options that adapter_config.json describes. Keys that nobody knows are named in a warning, as PEFT does. */
export const optionsFromPeft = (
  method: AdapterSpec<CommonOptions, unknown>,
  base: Model,
  { config, folder }: Adapter,
  options: LoadOptions = {},
): CommonOptions => {
  const known = new Set([...commonKeys, ...method.ignoredKeys, ...Object.keys(method.toPeft({}, [], base))])
  const unknown = Object.keys(config).filter((key) => !known.has(key))
  if (unknown.length)
    warnBy(options)(`${folder}/adapter_config.json: unknown keys are ignored: ${unknown.join(', ')}`)
  const { target_modules: targets, exclude_modules: exclude, layers_to_transform: layers, bias } = config
  const anywhere = method.lacks?.includes('target_modules')
  if (!anywhere && (targets === null || targets === undefined))
    throw new CheckpointError(
      'InvalidAdapter',
      `${folder}/adapter_config.json: target_modules is missing: which modules it adapts is unknown.`,
    )
  return {
    ...method.fromPeft(config),
    ...(anywhere ? {} : { targets: targets as string | string[] }),
    ...(exclude ? { exclude: exclude as string | string[] } : {}),
    ...(layers === null || layers === undefined ? {} : { layers: [layers].flat() as number[] }),
    ...(typeof config.layers_pattern === 'string' ? { layersPattern: config.layers_pattern } : {}),
    modulesToSave: listOf(config, 'modules_to_save') ?? [],
    ...(method.lacks?.includes('bias') ? {} : { bias: biasOf(bias) }),
  }
}

const checkBase = async (plan: Plan, adapter: Adapter, options: LoadOptions): Promise<void> => {
  const wanted = adapter.tensors.metadata[metadataKey]
  if (options.force) return
  if (wanted === undefined)
    return warnBy(options)(
      `${adapter.folder}: it does not say which weights it was trained on, so that they were not compared.`,
    )
  if (wanted === (await fingerprintOf(plan))) return
  throw new CheckpointError(
    'WrongBase',
    `${adapter.folder}: it was trained on other weights than those of ${plan.base.checkpoint.folder}.`,
    {
      hint: `It names its base as ${String(adapter.config.base_model_name_or_path)}. Load it here anyway: force (--any-base).`,
    },
  )
}

/** The adapter's parameters from its file; every one must be there, and nothing else. */
export const loadParameters = async (
  plan: Plan,
  adapter: Adapter,
  options: LoadOptions = {},
): Promise<Record<string, Value>> => {
  const { tensors } = adapter
  const plain = (name: string): string => name.replace('.base_layer.bias', '.bias')
  const entries = expected(plan).map((entry) =>
    tensors.has(plain(entry.name)) ? { ...entry, name: plain(entry.name) } : entry,
  )
  checkNames(entries, tensors)
  await checkBase(plan, adapter, options)
  // Indices and masks are whole numbers, and stay so.
  const dtypeOf = (name: string): DType | undefined =>
    isFloat(valueDType[tensors.info(name).dtype]) ? 'float32' : undefined
  const read = entries.map(
    async ({ name, parameter }) => [parameter, await tensors.read(name, dtypeOf(name))] as const,
  )
  return Object.fromEntries(await Promise.all(read))
}
