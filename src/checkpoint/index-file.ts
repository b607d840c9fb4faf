/** @file The index of a sharded checkpoint: which shard holds which tensor, and where that and the shards disagree. */
import { CheckpointError } from '../errors.js'
import { isJsonObject, type JsonObject } from './json.js'
import type { SafetensorsHeader, TensorInfo } from './safetensors.js'

/** A shard is named by its bare file name; anything else could lead out of the folder. */
const checkShardName = (file: string, tensor: string, shown: string, ending: string): void => {
  if (!/^[^/\\:\0]+$/.test(file) || !file.endsWith(ending) || file === ending)
    throw new CheckpointError(
      'PathLeavesFolder',
      `${shown}: tensor ${JSON.stringify(tensor)} is said to be in ${JSON.stringify(file)}, which is not the name of a ${ending} file in this folder.`,
    )
}

/** The shard of each tensor, as the index `json` says. shown: its path in messages; ending: that of the shards' names. Throws CheckpointError when it is none. */
export const readWeightMap = (
  { weight_map: map }: JsonObject,
  shown: string,
  ending = '.safetensors',
): Map<string, string> => {
  if (!isJsonObject(map))
    throw new CheckpointError('InvalidIndex', `${shown}: weight_map is missing or no object.`)
  return new Map(
    Object.entries(map).map(([tensor, file]) => {
      if (typeof file !== 'string')
        throw new CheckpointError(
          'InvalidIndex',
          `${shown}: tensor ${JSON.stringify(tensor)} has no file name.`,
        )
      checkShardName(file, tensor, shown, ending)
      return [tensor, file]
    }),
  )
}

/** One thing in which index and shards differ. */
interface Disagreement {
  readonly code: 'MissingTensor' | 'UnexpectedTensor' | 'DuplicateTensor'
  readonly text: string
}

/** The shards that were read, by file name. */
export type Headers = ReadonlyMap<string, SafetensorsHeader>

/** The files that hold each tensor. */
const holdersOf = (headers: Headers): Map<string, string[]> => {
  const holders = new Map<string, string[]>()
  for (const [file, { tensors }] of headers)
    for (const tensor of tensors.keys()) holders.set(tensor, [...(holders.get(tensor) ?? []), file])
  return holders
}

const disagreementsOf = (map: ReadonlyMap<string, string>, headers: Headers): Disagreement[] => {
  const holders = holdersOf(headers)
  const absent = [...map].flatMap(([tensor, file]): Disagreement[] => {
    const there = holders.get(tensor) ?? []
    if (there.includes(file)) return []
    const elsewhere = there.length ? `; ${there.join(' and ')} does` : ''
    const text = `tensor ${JSON.stringify(tensor)} should be in ${file}, which does not hold it${elsewhere}`
    return [{ code: 'MissingTensor', text }]
  })
  const beyond = [...holders].flatMap(([tensor, files]): Disagreement[] => {
    const file = map.get(tensor)
    if (file === undefined)
      return [
        { code: 'UnexpectedTensor', text: `tensor ${JSON.stringify(tensor)} of ${files[0]} is not in it` },
      ]
    const others = files.filter((other) => other !== file)
    if (others.length === 0 || others.length === files.length) return []
    const text = `tensor ${JSON.stringify(tensor)} of ${file} is also in ${others.join(' and ')}`
    return [{ code: 'DuplicateTensor', text }]
  })
  const order = ['DuplicateTensor', 'MissingTensor', 'UnexpectedTensor']
  return [...absent, ...beyond].sort((a, b) => order.indexOf(a.code) - order.indexOf(b.code))
}

const shownAtMost = 5

/**
 * The tensors that lie where the index says, and one warning where anything else does not fit: what the index does not
 * list is not read, and what does not lie where it says is not there. With `strict`, throws CheckpointError instead.
 * shown: the index in messages.
 */
export const tensorsByIndex = (
  map: ReadonlyMap<string, string>,
  headers: Headers,
  { shown, strict }: { shown: string; strict: boolean },
): { tensors: Map<string, TensorInfo>; warnings: string[] } => {
  const all = disagreementsOf(map, headers)
  if (strict && all.length) throw new CheckpointError(all[0].code, `${shown}: ${all[0].text}.`)
  const tensors = new Map<string, TensorInfo>()
  for (const [tensor, file] of map) {
    const info = headers.get(file)?.tensors.get(tensor)
    if (info) tensors.set(tensor, info)
  }
  const lines = all.slice(0, shownAtMost).map(({ text }) => `  ${text}`)
  if (all.length > shownAtMost) lines.push(`  and ${all.length - shownAtMost} more`)
  const warnings = all.length ? [`${shown} is out of step with its shards:\n${lines.join('\n')}`] : []
  return { tensors, warnings }
}
