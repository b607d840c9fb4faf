/** @file The reference checkpoints that differ in kind: what suites loop over instead of a list of names. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { type Architecture, architectureFor, architectures, type WeightSpec } from '../src/models/index.js'
import { goldenFolder } from './golden.js'

/** A reference checkpoint, and what kind of model it is. */
export interface GoldenModel {
  /** Name of its folder. */
  readonly name: string
  readonly architecture: Architecture
  readonly task: string
  /** What else makes it another kind of model for those that adapt, cut and merge it. */
  readonly traits: readonly string[]
}

const traits: Readonly<Record<string, (spec: WeightSpec) => boolean>> = {
  experts: ({ name }) => /\.experts\./.test(name),
  biases: ({ name }) => name.endsWith('.bias'),
  'norms of heads': ({ kind, axes }) => kind === 'norm' && axes[0]?.group !== 'residual',
  'weights stored [in, out]': ({ layout }) => layout === 'in-out',
}

const goldenModel = (name: string): GoldenModel[] => {
  const file = goldenFolder(name, 'config.json')
  if (!existsSync(file)) return []
  const json = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>
  const architecture = architectureFor(json)
  const config = architecture.readConfig(json)
  const table = architecture.table(config)
  const present = Object.keys(traits).filter((trait) => table.some(traits[trait]))
  return [{ name, architecture, task: architecture.task(config), traits: present }]
}

const kindOf = ({ architecture, task, traits }: GoldenModel): string =>
  [architecture.name, task, ...traits].join(', ')

/** One reference checkpoint of each kind, in the order of the architectures: the one named as its architecture, else the first by name. */
export const goldenModels = (): readonly GoldenModel[] => {
  const all = readdirSync(goldenFolder()).sort().flatMap(goldenModel)
  const named = architectures.flatMap((known) =>
    all.filter(({ name, architecture }) => architecture === known && name === known.name),
  )
  const kinds = new Map<string, GoldenModel>()
  for (const model of [...named, ...all]) if (!kinds.has(kindOf(model))) kinds.set(kindOf(model), model)
  return [...kinds.values()]
}

/** A decoder of each layout of weights: where suites run that ask a method for everything. */
export const plainDecoders = (): readonly GoldenModel[] => {
  const decoders = goldenModels().filter(
    ({ task, traits }) => task === 'causal' && !traits.includes('experts'),
  )
  const layouts = new Map<boolean, GoldenModel>()
  for (const model of decoders) {
    const isTransposed = model.traits.includes('weights stored [in, out]')
    if (!layouts.has(isTransposed)) layouts.set(isTransposed, model)
  }
  return [...layouts.values()]
}
