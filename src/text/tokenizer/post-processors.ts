/** @file Post-processors: the special tokens around one text, or around and between two. */
import { z } from 'zod'
import { isObject } from '../../data/files.js'
import { broken, choose, chooseAll, kind, type Kind } from './part.js'

/** A part of a sequence: one of the texts, or tokens beside them. */
type Piece = { readonly type: number } & ({ readonly text: 0 | 1 } | { readonly ids: readonly number[] })

/** What a sequence is made of: of one text, and of two. */
export interface PostProcessor {
  readonly single: readonly Piece[]
  readonly pair: readonly Piece[]
}

/** One text or two as one sequence, with the tokens that belong around and between them. */
export interface JoinedTokens {
  readonly ids: number[]
  /** The segment that each token belongs to, as `token_type_ids`. */
  readonly types: number[]
  /** The place in `ids` at which each text begins. */
  readonly starts: readonly number[]
}

/** Texts as they are. */
const bare: PostProcessor = {
  single: [{ text: 0, type: 0 }],
  pair: [
    { text: 0, type: 0 },
    { text: 1, type: 1 },
  ],
}

/** The ids of one text or two ([count] each) in the places that `processor` gives them. Default: behind each other. */
export const joinTokens = (
  { single, pair }: PostProcessor = bare,
  first: readonly number[],
  second?: readonly number[],
): JoinedTokens => {
  const ids: number[] = []
  const types: number[] = []
  const starts: number[] = []
  for (const piece of second ? pair : single) {
    const part = 'ids' in piece ? piece.ids : piece.text === 0 ? first : second!
    if ('text' in piece) starts[piece.text] = ids.length
    for (const id of part) {
      ids.push(id)
      types.push(piece.type)
    }
  }
  return { ids, types, starts }
}

const id = z.number().int().nonnegative()
const namedToken = z.tuple([z.string(), id])
const typed = { type_id: id }
const template = z.array(
  z.union([
    z.strictObject({ Sequence: z.strictObject({ id: z.enum(['A', 'B']), ...typed }) }),
    z.strictObject({ SpecialToken: z.strictObject({ id: z.string(), ...typed }) }),
  ]),
)
const tokens = z.record(
  z.string(),
  z.strictObject({ id: z.string(), ids: z.array(id), tokens: z.array(z.string()) }),
)
const offsets = { trim_offsets: z.boolean(), add_prefix_space: z.boolean() }

/** A first token, a last one, and so many of the latter between two texts, of which the second is segment `type`. */
const around = (cls: number, sep: number, between: number, type: number): PostProcessor => ({
  single: [
    { ids: [cls], type: 0 },
    { text: 0, type: 0 },
    { ids: [sep], type: 0 },
  ],
  pair: [
    { ids: [cls], type: 0 },
    { text: 0, type: 0 },
    { ids: new Array<number>(between).fill(sep), type: 0 },
    { text: 1, type },
    { ids: [sep], type },
  ],
})

const addsTokens = (json: unknown): boolean => isObject(json) && json.type !== 'ByteLevel'

const kinds: Readonly<Record<string, Kind<PostProcessor>>> = {
  TemplateProcessing: kind({ single: template, pair: template, special_tokens: tokens }, (o, where) => {
    const pieceOf = (piece: (typeof o.single)[number]): Piece => {
      if ('Sequence' in piece)
        return { text: piece.Sequence.id === 'A' ? 0 : 1, type: piece.Sequence.type_id }
      const { id, type_id: type } = piece.SpecialToken
      const special = Object.hasOwn(o.special_tokens, id) ? o.special_tokens[id] : undefined
      if (!special) throw broken(where, `its "special_tokens" lack ${JSON.stringify(id)}`)
      return { ids: special.ids, type }
    }
    const isFirst = (piece: Piece): boolean => !('text' in piece) || piece.text === 0
    return { single: o.single.map(pieceOf).filter(isFirst), pair: o.pair.map(pieceOf) }
  }),
  BertProcessing: kind({ sep: namedToken, cls: namedToken }, ({ cls, sep }) => around(cls[1], sep[1], 1, 1)),
  RobertaProcessing: kind({ sep: namedToken, cls: namedToken, ...offsets }, ({ cls, sep }) =>
    around(cls[1], sep[1], 2, 0),
  ),
  ByteLevel: kind({ ...offsets, use_regex: z.boolean().optional() }, () => bare),
  Sequence: kind({ processors: z.array(z.unknown()) }, ({ processors }, where) => {
    // The reference gives each part of a first one's output, its tokens included, to the next one alone.
    if (processors.filter(addsTokens).length > 1)
      throw broken(where, 'a Sequence of several post-processors that add tokens')
    const all = chooseAll(postProcessor, processors, `${where}.processors`)
    return all[processors.findIndex(addsTokens)] ?? bare
  }),
}

/** The types of post-processors, and the keys of each. */
export const postProcessorKinds: Readonly<Record<string, Kind<unknown>>> = kinds

/** The post-processor that `json` describes. Throws CheckpointError for one that is not known. */
export const postProcessor = (json: unknown, where: string): PostProcessor => choose(kinds, json, where)
