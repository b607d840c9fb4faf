/** @file Post-processors: the special tokens around a sequence. */
import { z } from 'zod'
import { isObject } from '../../data/files.js'
import { broken, choose, chooseAll, kind, type Kind } from './part.js'

/** The ids of a sequence with those that belong around it. */
export type PostProcessor = (ids: number[]) => number[]

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

const around =
  (before: readonly number[], after: readonly number[]): PostProcessor =>
  (ids) => [...before, ...ids, ...after]

const addsTokens = (json: unknown): boolean => isObject(json) && json.type !== 'ByteLevel'

const kinds: Readonly<Record<string, Kind<PostProcessor>>> = {
  TemplateProcessing: kind({ single: template, pair: template, special_tokens: tokens }, (o, where) => {
    const pieces = o.single.map((piece) => {
      if ('Sequence' in piece) return piece.Sequence.id === 'A' ? undefined : []
      const special = Object.hasOwn(o.special_tokens, piece.SpecialToken.id)
        ? o.special_tokens[piece.SpecialToken.id]
        : undefined
      if (!special) throw broken(where, `its "special_tokens" lack ${JSON.stringify(piece.SpecialToken.id)}`)
      return special.ids
    })
    return (ids) => pieces.flatMap((piece) => piece ?? ids)
  }),
  BertProcessing: kind({ sep: namedToken, cls: namedToken }, ({ cls, sep }) => around([cls[1]], [sep[1]])),
  RobertaProcessing: kind({ sep: namedToken, cls: namedToken, ...offsets }, ({ cls, sep }) =>
    around([cls[1]], [sep[1]]),
  ),
  ByteLevel: kind({ ...offsets, use_regex: z.boolean().optional() }, () => (ids) => ids),
  Sequence: kind({ processors: z.array(z.unknown()) }, ({ processors }, where) => {
    // The reference gives each part of a first one's output, its tokens included, to the next one alone.
    if (processors.filter(addsTokens).length > 1)
      throw broken(where, 'a Sequence of several post-processors that add tokens')
    const all = chooseAll(postProcessor, processors, `${where}.processors`)
    return (ids) => all.reduce((out, process) => process(out), ids)
  }),
}

/** The types of post-processors, and the keys of each. */
export const postProcessorKinds: Readonly<Record<string, Kind<unknown>>> = kinds

/** The post-processor that `json` describes. Throws CheckpointError for one that is not known. */
export const postProcessor = (json: unknown, where: string): PostProcessor => choose(kinds, json, where)
