/** @file The two parts of a block, attention and feed-forward, as the linear modules that they begin and end with. */
import { architectures } from './architectures.js'
import type { Part, Sublayer } from './declarations.js'
import type { Model } from './model.js'
import { sitesOf } from './sites.js'

const escaped = (name: string): string => name.replace(/[.[\]]/g, '\\$&')

/** The block and the numbers within it, where `name` is the module that a part ends with. */
const match = ({ last }: Sublayer, name: string): RegExpExecArray | null =>
  new RegExp(`^(.*?\\.\\d+)\\.${escaped(last).replaceAll('*', '(\\d+)')}$`).exec(name)

/** The name of the module `first` in the block, and with the numbers, that were matched. */
const named = (first: string, [, block, ...numbers]: RegExpExecArray): string => {
  let used = 0
  return `${block}.${first.replace(/\*/g, () => numbers[used++])}`
}

const all: readonly Sublayer[] = architectures.flatMap(({ sublayers = [] }) => sublayers)

/** The last linear modules of these parts of every block. */
export const endsOfParts = (model: Model, parts: readonly Part[]): string[] => {
  const wanted = (model.architecture.sublayers ?? []).filter(({ part }) => parts.includes(part))
  return sitesOf(model, ['linear'])
    .map(({ name }) => name)
    .filter((name) => wanted.some((sublayer) => match(sublayer, name)))
}

/** The part of a block that the linear module `name` ends; undefined where it ends none. */
export const partEndedBy = (name: string): Part | undefined => all.find((s) => match(s, name))?.part

/**
 * Names of the linear module that what ends with `name` begins with, of which the model has one; `name` itself where that
 * ends no part of a block.
 */
export const beginOfPart = (name: string): readonly string[] => {
  const matches = all.flatMap((sublayer) => {
    const matched = match(sublayer, name)
    return matched ? sublayer.first.map((first) => named(first, matched)) : []
  })
  return matches.length ? [...new Set(matches)] : [name]
}

/** Names of the linear module whose input is that of the attention module `attention`, of which the model has one. */
export const entrancesOf = (attention: string): readonly string[] => {
  const firsts = all.filter(({ part }) => part === 'attention').flatMap(({ first }) => first)
  return [...new Set(firsts.map((name) => `${attention}.${name.slice(name.lastIndexOf('.') + 1)}`))]
}
