/** @file The two parts of a block, attention and feed-forward, as the linear modules that they begin and end with. */
import type { Model } from './index.js'
import { sitesOf } from './sites.js'

export type Part = 'attention' | 'feed-forward'

interface SubLayer {
  readonly part: Part
  /** The name of its last linear module, whose output is the part's. */
  readonly last: RegExp
  /** The names of the first one, whose input is the part's; those after the first are of variants. */
  readonly first: readonly string[]
}

const subLayers: readonly SubLayer[] = [
  { part: 'attention', last: /(self_attn)\.o_proj$/, first: ['$1.q_proj'] },
  { part: 'feed-forward', last: /(mlp)\.down_proj$/, first: ['$1.gate_proj'] },
  { part: 'feed-forward', last: /(experts\.\d+)\.w2$/, first: ['$1.w1'] },
  { part: 'attention', last: /(\.attn)\.c_proj$/, first: ['$1.c_attn'] },
  { part: 'feed-forward', last: /(\.mlp)\.c_proj$/, first: ['$1.c_fc'] },
  {
    part: 'attention',
    last: /(\.attention)\.output\.dense$/,
    first: ['$1.self.query', '$1.attention.query'],
  },
  { part: 'feed-forward', last: /(\.\d+)\.output\.dense$/, first: ['$1.intermediate.dense'] },
  { part: 'attention', last: /(Attention)\.o$/, first: ['$1.q'] },
  { part: 'feed-forward', last: /(DenseReluDense)\.wo$/, first: ['$1.wi', '$1.wi_0'] },
]

const find = (name: string): SubLayer | undefined => subLayers.find(({ last }) => last.test(name))

/** The last linear modules of these parts of every block. */
export const endsOfParts = (model: Model, parts: readonly Part[]): string[] =>
  sitesOf(model, ['linear'])
    .map(({ name }) => name)
    .filter((name) => parts.includes(find(name)?.part as Part))

/** Names of the linear module that what ends with `name` begins with; `name` itself where that ends no part of a block. */
export const beginOfPart = (name: string): readonly string[] => {
  const part = find(name)
  return part ? part.first.map((first) => name.replace(part.last, first)) : [name]
}
