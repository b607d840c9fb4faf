/** @file Adapters as PEFT's folders: what its files call tensors, and what a loaded one must agree with. */
import type { Adapter, TensorData } from '../../checkpoint/index.js'
import { adapterPrefix, checkNames, encode, valueDType, withFloats } from '../../checkpoint/web.js'
import { CheckpointError } from '../../errors.js'
import type { Parameters } from '../../models/index.js'
import type { Site } from '../../models/sites.js'
import { baseTensor, fingerprint } from '../../models/stored.js'
import { type DType, isFloat, type Shape, sizeOf, value, type Value } from '../../tensor/index.js'
import { heldTensors, wrappedName } from './held.js'
import { baseName, configOf } from './peft-config.js'
import { parameterSpecs, uniqueRows } from './plan.js'
import { headMetadata } from './saved-head.js'
import type { LoadOptions, Plan } from './spec.js'

const metadataKey = 'weft_base_sha256'

/** A tensor of the adapter's file, and the parameter that it is the value of. */
interface FileTensor {
  readonly name: string
  readonly parameter: string
  readonly shape: Shape
}

/** Every parameter's shape and name in the file. */
const fileTensors = (plan: Plan): FileTensor[] => {
  const { architecture, config } = plan.base
  const shapes = new Map(architecture.table(config).map((spec) => [spec.name, spec.shape]))
  return [
    ...parameterSpecs(plan).map(({ name, spec: { shape } }) => ({
      name: `${adapterPrefix}${name}`,
      parameter: name,
      shape,
    })),
    ...uniqueRows(plan).map(({ parameter, indices, shape }) => ({
      name: `${adapterPrefix}${parameter}`,
      parameter,
      shape: [indices.length, shape[1]],
    })),
    ...Object.values(plan.shared).map(({ key, file = `base_model.${key}`, shape }) => ({
      name: file,
      parameter: key,
      shape,
    })),
    ...plan.whole.map((name) => ({
      name: name.endsWith('.bias') ? wrappedName(plan, name) : `${adapterPrefix}${name}`,
      parameter: name,
      shape: shapes.get(name)!,
    })),
  ]
}

/** The tensors under a site: a module's own, or all within a block. */
const tensorsUnder = ({ name, kind }: Site, all: readonly string[]): string[] =>
  kind === 'attention' || kind === 'block'
    ? all.filter((tensor) => tensor.startsWith(`${name}.`))
    : [`${name}.weight`]

/** The fingerprint of the weights that it stands at; of all there are where it stands at none. */
const fingerprintOf = ({ base, sites }: Plan): Promise<string> => {
  const all = base.architecture.table(base.config).map(({ name }) => name)
  return fingerprint(base, sites.length ? sites.flatMap(({ site }) => tensorsUnder(site, all)) : all)
}

/** Writes the adapter as a PEFT folder; the metadata of its tensors name the base by its fingerprint. */
export const saveAdapter = async (
  plan: Plan,
  parameters: Parameters<Value>,
  folder: string,
): Promise<void> => {
  const { base } = plan
  const trained = fileTensors(plan).map(async ({ name, parameter }): Promise<TensorData> => {
    const tensor = parameters[parameter]
    return { name, ...encode(value(await tensor.read(), tensor.shape, tensor.dtype)) }
  })
  const held = plan.held.map(async ({ name }): Promise<TensorData> => {
    const tensor = await baseTensor(base, name)
    return { name: wrappedName(plan, name), ...encode(tensor) }
  })
  const tensors = [...trained, ...held]
  const { writeAdapter } = await import('../../checkpoint/index.js')
  await writeAdapter(folder, withFloats(configOf(plan)), await Promise.all(tensors), {
    base: baseName(base),
    metadata: { [metadataKey]: await fingerprintOf(plan), ...headMetadata(base) },
  })
}

/** Throws CheckpointError where the adapter names other weights than the base's; says so where it names none. */
const checkBase = async (plan: Plan, adapter: Adapter, options: LoadOptions): Promise<void> => {
  const { onWarning = console.warn, force } = options
  const wanted = adapter.tensors.metadata[metadataKey]
  if (force) return
  if (wanted === undefined)
    return onWarning(
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

/** Copies that PEFT writes beside what it loads, of modules that are saved whole. */
const copies: readonly RegExp[] = [/\.original_module\./, /\.modules_to_save\./]

/**
 * The values of the adapter's parameters from its file. Throws CheckpointError for tensors that are missing, unexpected or of
 * another shape, and for a base that is not the adapter's.
 */
export const loadParameters = async (
  plan: Plan,
  adapter: Adapter,
  options: LoadOptions = {},
): Promise<Record<string, Value>> => {
  const { tensors } = adapter
  const ofBase = heldTensors(plan.base, adapter)
  const entries = fileTensors(plan).map((entry) =>
    tensors.has(entry.name) ? entry : { ...entry, name: ofBase.get(entry.parameter) ?? entry.name },
  )
  const wanted = new Set(entries.map(({ name }) => name))
  const held = new Set(ofBase.values())
  const isEmpty = (name: string): boolean => sizeOf(tensors.info(name).shape) === 0
  const passedOver = (name: string): boolean =>
    !wanted.has(name) && (held.has(name) || isEmpty(name) || copies.some((copy) => copy.test(name)))
  checkNames(entries, {
    folder: tensors.folder,
    names: () => tensors.names().filter((name) => !passedOver(name)),
    has: (name) => tensors.has(name),
    info: (name) => tensors.info(name),
  })
  await checkBase(plan, adapter, options)
  // Indices and masks are whole numbers, and stay so.
  const dtypeOf = (name: string): DType | undefined =>
    isFloat(valueDType[tensors.info(name).dtype]) ? 'float32' : undefined
  const read = entries.map(
    async ({ name, parameter }) => [parameter, await tensors.read(name, dtypeOf(name))] as const,
  )
  return Object.fromEntries(await Promise.all(read))
}
