/**
 * @file Recipes in one spelling. mergekit reads them with Python's looser rules: what is null is absent, numbers may be
 * quoted, a model may be an object, dtypes may begin with "torch.".
 */

type Mapping = Readonly<Record<string, unknown>>

const isMapping = (x: unknown): x is Mapping => typeof x === 'object' && x !== null && !Array.isArray(x)

/** `x` with each of its entries that `change` knows changed, and without those that are null. */
const changed = (x: unknown, change: Readonly<Record<string, (value: unknown) => unknown>>): unknown => {
  if (!isMapping(x)) return x
  const entries = Object.entries(x).filter(([, value]) => value !== null)
  return Object.fromEntries(
    entries.map(([key, value]) => [key, Object.hasOwn(change, key) ? change[key](value) : value]),
  )
}

const each =
  (change: (value: unknown) => unknown) =>
  (list: unknown): unknown =>
    Array.isArray(list) ? list.map(change) : list

const eachValue =
  (change: (value: unknown) => unknown) =>
  (mapping: unknown): unknown =>
    isMapping(mapping)
      ? Object.fromEntries(Object.entries(mapping).map(([key, value]) => [key, change(value)]))
      : mapping

const number = (x: unknown): unknown =>
  typeof x === 'string' && x.trim() !== '' && Number.isFinite(Number(x)) ? Number(x) : x

const numbers = (x: unknown): unknown => (Array.isArray(x) ? x.map(number) : number(x))

/** A number, a gradient, a conditional value or a list of these. */
const setting = (x: unknown): unknown => {
  if (Array.isArray(x) && x.some(isMapping)) return x.map(setting)
  return isMapping(x) ? changed(x, { value: numbers }) : numbers(x)
}

const settings = (x: unknown): unknown => eachValue(setting)(changed(x, {}))

/** {path, revision} -> 'path@revision'. */
const path = (x: unknown): unknown => {
  if (!isMapping(x) || typeof x.path !== 'string') return x
  return typeof x.revision === 'string' ? `${x.path}@${x.revision}` : x.path
}

/** {model, lora} -> 'model+lora'. */
const model = (x: unknown): unknown => {
  const pathParts = changed(x, { model: path, lora: path })
  if (!isMapping(pathParts) || Object.keys(pathParts).some((key) => key !== 'model' && key !== 'lora'))
    return path(x)
  return 'lora' in pathParts ? `${String(pathParts.model)}+${String(pathParts.lora)}` : pathParts.model
}

/** Older recipes write model:PATH. */
const tokenizerSource = (x: unknown): unknown => (typeof x === 'string' ? x.replace(/^model:/, '') : model(x))

const dtype = (x: unknown): unknown => (typeof x === 'string' ? x.replace(/^torch\./, '') : x)

/** A list or mapping; nothing where it is empty. */
const unlessEmpty = (x: unknown): unknown => {
  const size = Array.isArray(x) ? x.length : isMapping(x) ? Object.keys(x).length : 1
  return size === 0 ? undefined : x
}

const source = (x: unknown): unknown => changed(x, { model, parameters: settings, layer_range: numbers })
const slice = (x: unknown): unknown =>
  changed(x, { sources: each(source), base_model: model, parameters: settings })

const parts = {
  models: (x: unknown) => unlessEmpty(each(source)(x)),
  slices: (x: unknown) => unlessEmpty(each(slice)(x)),
  parameters: settings,
}

const token = (x: unknown): unknown =>
  changed(x, {
    source: (kindOrModel) =>
      isMapping(kindOrModel) && 'kind' in kindOrModel ? changed(kindOrModel, { model }) : model(kindOrModel),
  })

/** The recipe `x`, a parsed document, in the one spelling that the schema knows; what is no recipe as it is. */
export const inOneSpelling = (x: unknown): unknown =>
  changed(x, {
    ...parts,
    modules: (modules) => unlessEmpty(eachValue((module) => changed(module, parts))(modules)),
    base_model: model,
    dtype,
    out_dtype: dtype,
    tokenizer_source: tokenizerSource,
    tokenizer: (asMapping) => changed(asMapping, { source: tokenizerSource, tokens: eachValue(token) }),
  })
