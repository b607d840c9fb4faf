/** @file Which tensors meet: the names of every source's tensors, aligned layer by layer, and refused where they do not fit. */
import type { Checkpoint } from '../../../checkpoint/index.js'
import { CheckpointError, nearest, UsageError } from '../../../errors.js'
import type { MergeMethod } from '../method.js'
import type { ModelTensor } from '../planned.js'
import type { RecipeModule, RecipeSlice, Settings } from './recipe.js'
import { isByVocabulary, tensorInWords } from './vocabulary.js'
import { maxOf } from '../../../tensor/numbers.js'

/** A tensor of one model, with the parameters that the recipe gives the model. */
export interface SourceTensor extends ModelTensor {
  readonly parameters?: Settings
}

/** Tensors that become one. */
export interface Aligned {
  readonly name: string
  /** Place in depth within the slice, 0 to 1; 0 for what is in no layer. */
  readonly depth: number
  readonly sources: readonly SourceTensor[]
  readonly slice: Slice
}

/** A slice of a recipe, with its models opened. */
export interface Slice {
  readonly base?: string
  readonly parameters?: Settings
  /** Of the module that it belongs to. */
  readonly module?: Settings
  readonly sources: readonly Source[]
}

interface Source {
  readonly model: string
  readonly checkpoint: Checkpoint
  /** Absent: all layers. */
  readonly range?: readonly [number, number]
  readonly parameters?: Settings
}

/** The slices of a module; `models` are one slice of all layers, to which the base belongs where the method has one. */
export const slicesOf = (
  { models, slices, parameters: module }: RecipeModule,
  base: string | undefined,
  method: MergeMethod,
  opened: ReadonlyMap<string, Checkpoint>,
): Slice[] => {
  const source = (model: string, parameters?: Settings, range?: readonly [number, number]): Source => ({
    model,
    checkpoint: opened.get(model)!,
    parameters,
    range,
  })
  if (models) {
    const sources = models.map(({ model, parameters }) => source(model, parameters))
    const joins = base !== undefined && method.base !== 'none' && !models.some(({ model }) => model === base)
    return [{ base, module, sources: joins ? [...sources, source(base)] : sources }]
  }
  return slices!.map(({ sources, parameters, base_model: sliceBase }: RecipeSlice) => ({
    base: sliceBase ?? base,
    parameters,
    module,
    sources: sources.map((s) => source(s.model, s.parameters, s.layer_range)),
  }))
}

/** A tensor's place: the first number in its name counts layers. */
const layered = /^((?:[^.]+\.)*?[A-Za-z_][^.]*\.)(\d+)(\..*)$/

interface Layers {
  /** Stack of layers, as 'model.layers.': for each layer the ends of its tensors' names. */
  readonly stacks: ReadonlyMap<string, readonly ReadonlySet<string>[]>
  readonly others: readonly string[]
}

const layersOf = (checkpoint: Checkpoint, within: (name: string) => boolean): Layers => {
  const stacks = new Map<string, Set<string>[]>()
  const others: string[] = []
  for (const name of checkpoint.names().filter(within)) {
    const [, stack, number, end] = layered.exec(name) ?? []
    if (stack === undefined) {
      others.push(name)
      continue
    }
    const layers = stacks.get(stack) ?? stacks.set(stack, []).get(stack)!
    while (layers.length <= Number(number)) layers.push(new Set())
    layers[Number(number)].add(end)
  }
  return { stacks, others }
}

/** What comes before the first layer: everything else is taken from the last slice. */
const isInput = (name: string): boolean =>
  /(^|\.)(wte|wpe|shared|embed(?!_out)\w*|\w*embeddings?)(\.|$)/.test(name)

const isHead = (name: string): boolean => /lm_head|embed_out/.test(name)

const absent = (source: Source, name: string, present: Source): CheckpointError => {
  const where = source.checkpoint
  const other = present.checkpoint
  const embedding = where.names().find((n) => isInput(n) && isByVocabulary(n))
  const tied = isHead(name) && embedding !== undefined
  const stands = tied ? `; its output head is ${tensorInWords(where, where.info(embedding))}` : ''
  return new CheckpointError(
    tied ? 'TiedAndUntied' : 'MissingTensor',
    `${where.folder}: no tensor ${JSON.stringify(name)}, which ${other.folder} has: ${tensorInWords(other, other.info(name))}${stands}.`,
    {
      hint: tied
        ? 'One of the models ties its output head to its embeddings and the other does not: untie it first.'
        : `Nearest: ${nearest(name, where.names(), 1).join('')}. The models are not of one architecture.`,
    },
  )
}

const sourceTensor = (source: Source, name: string, present: Source): SourceTensor => {
  const { model, checkpoint, parameters } = source
  if (!checkpoint.has(name)) throw absent(source, name, present)
  return { model, checkpoint, parameters, info: checkpoint.info(name) }
}

const checkRange = ({ model, range }: Source, count: number): void => {
  if (range && range[1] > count)
    throw new UsageError('BadValue', `${model}: layer_range [${range}] leaves its ${count} layers`)
}

/** The tensors of one stack of layers in one slice, from layer `offset` of the output on. */
const alignStack = (slice: Slice, all: readonly Layers[], stack: string, offset: number): Aligned[] => {
  const layersOfSources = slice.sources.map((source, s) => {
    const layers = all[s].stacks.get(stack) ?? []
    checkRange(source, layers.length)
    const [start, end] = source.range ?? [0, layers.length]
    return { start, layers: layers.slice(start, end) }
  })
  const length = maxOf(layersOfSources.map(({ layers }) => layers.length))
  const uneven = layersOfSources.findIndex(({ layers }) => layers.length !== length)
  if (uneven >= 0 && slice.sources[uneven].range)
    throw new UsageError('BadValue', 'the sources of a slice must have equally many layers', {
      hint: slice.sources.map(({ model, range }) => `${model}: [${range}]`).join(', '),
    })
  return Array.from({ length }, (_, layer) => {
    const ends = [...new Set(layersOfSources.flatMap(({ layers }) => [...(layers[layer] ?? [])]))].sort()
    return ends.map((end): Aligned => {
      const holder = slice.sources[layersOfSources.findIndex(({ layers }) => layers[layer]?.has(end))]
      const nameIn = (s: number): string => `${stack}${layersOfSources[s].start + layer}${end}`
      return {
        name: `${stack}${offset + layer}${end}`,
        depth: length > 1 ? layer / (length - 1) : 1,
        sources: slice.sources.map((source, s) => sourceTensor(source, nameIn(s), holder)),
        slice,
      }
    })
  }).flat()
}

const alignOthers = (slice: Slice, all: readonly Layers[], wanted: (name: string) => boolean): Aligned[] => {
  const names = [...new Set(all.flatMap(({ others }) => others))].filter(wanted).sort()
  return names.map((name) => {
    const holder = slice.sources.find(({ checkpoint }) => checkpoint.has(name))!
    return {
      name,
      depth: 0,
      sources: slice.sources.map((source) => sourceTensor(source, name, holder)),
      slice,
    }
  })
}

/** Sizes must agree; of a vocabulary the message says so. */
const checkShapes = ({ sources: [first, ...rest] }: Aligned): void => {
  for (const { checkpoint, info } of rest) {
    if (String(info.shape) === String(first.info.shape)) continue
    const vocabulary = isByVocabulary(info.name) && info.shape[0] !== first.info.shape[0]
    throw new CheckpointError(
      vocabulary ? 'VocabularyMismatch' : 'ShapeMismatch',
      `${tensorInWords(first.checkpoint, first.info)} does not fit ${tensorInWords(checkpoint, info)}.`,
      {
        hint: vocabulary
          ? `The models have different vocabularies, of ${first.info.shape[0]} and ${info.shape[0]} tokens. Say which one the result has: tokenizer_source: union (or base, or a model).`
          : 'The models have different sizes.',
      },
    )
  }
}

/** Throws CheckpointError where the models are not of one architecture. */
export const checkArchitectures = (slices: readonly Slice[]): void => {
  const all = slices.flatMap(({ sources }) => sources)
  const first = all[0].checkpoint
  const other = all.find(({ checkpoint }) => checkpoint.config.model_type !== first.config.model_type)
  if (other)
    throw new CheckpointError(
      'ArchitectureMismatch',
      `${first.folder} is of type ${String(first.config.model_type)}, ${other.checkpoint.folder} of type ${String(other.checkpoint.config.model_type)}.`,
      { hint: 'To merge what fits by name and shape all the same: --allow-crimes.' },
    )
}

export interface AlignOptions {
  /** The tensors that the slices are about. Default: all. */
  readonly within?: (name: string) => boolean
  /** Gives sources in another order of rows, before their shapes are compared. */
  readonly reorder?: (aligned: Aligned) => Aligned
}

/** A layer of the output, and the source's that it takes its place in config.json from. */
export interface OutputLayer {
  readonly checkpoint: Checkpoint
  /** Its number in that checkpoint. */
  readonly layer: number
  /** How many layers there are. */
  readonly count: number
}

/** The layers that a slice gives: as many as its first source has, each described by the slice's base or first source. */
const layersFrom = (slice: Slice, all: readonly Layers[], stack: string): OutputLayer[] => {
  const described = Math.max(
    0,
    slice.sources.findIndex(({ model }) => model === slice.base),
  )
  const { checkpoint, range } = slice.sources[described]
  const count = all[described].stacks.get(stack)?.length ?? 0
  const [start, end] = range ?? [0, count]
  return Array.from({ length: end - start }, (_, i) => ({ checkpoint, layer: start + i, count }))
}

/**
 * Aligns the sources' tensors by name and layer. Returns them with the layers of the output. Throws
 * CheckpointError for a tensor that a source lacks, and shapes that differ.
 */
export const align = (
  slices: readonly Slice[],
  { within = () => true, reorder = (aligned) => aligned }: AlignOptions = {},
): { tensors: Aligned[]; layers: readonly OutputLayer[] } => {
  const all = slices.map(({ sources }) => sources.map(({ checkpoint }) => layersOf(checkpoint, within)))
  const stacks = [...new Set(all.flat().flatMap((layers) => [...layers.stacks.keys()]))].sort()
  if (slices.some(({ sources }) => sources[0].range) && stacks.length !== 1)
    throw new UsageError(
      'SeveralStacks',
      `slices need models with one stack of layers; these have ${stacks.join(', ')}`,
      { hint: 'Where the architecture has several modules, each can have its own slices: modules.' },
    )
  const tensors = alignOthers(slices[0], all[0], isInput)
  let layers: OutputLayer[] = []
  for (const stack of stacks) {
    layers = []
    for (const [s, slice] of slices.entries()) {
      for (const aligned of alignStack(slice, all[s], stack, layers.length)) tensors.push(aligned)
      layers = [...layers, ...layersFrom(slice, all[s], stack)]
    }
  }
  const others = alignOthers(slices.at(-1)!, all.at(-1)!, (name) => !isInput(name))
  const ordered = [...tensors, ...others].map(reorder)
  ordered.forEach(checkShapes)
  return { tensors: ordered, layers }
}
