/** @file The list of architectures, and the choice by config.json. */
import { CheckpointError, nearest } from '../errors.js'
import type { Architecture } from './architecture.js'
import { bert, roberta } from './bert.js'
import { clip } from './clip.js'
import { dinov2 } from './dinov2.js'
import { distilbert } from './distilbert.js'
import { gpt2 } from './gpt2.js'
import { gptNeox } from './gpt-neox.js'
import { llama } from './llama.js'
import { mlp } from './mlp.js'
import { modernbert } from './modernbert.js'
import { resnet } from './resnet.js'
import { t5 } from './t5.js'
import { vit } from './vit.js'

/** Every architecture; a new one is a line here. */
export const architectures: readonly Architecture[] = [
  llama,
  gpt2,
  gptNeox,
  bert,
  roberta,
  distilbert,
  modernbert,
  t5,
  vit,
  dinov2,
  clip,
  resnet,
  mlp,
]

/** The architecture of a config.json by its `model_type`. Throws CheckpointError listing the known types. */
export const architectureFor = (config: Readonly<Record<string, unknown>>): Architecture => {
  const type = config.model_type
  const found = architectures.find((a) => a.modelTypes.includes(String(type)))
  if (found) return found
  const known = architectures.flatMap((a) => a.modelTypes)
  throw new CheckpointError(
    'UnknownArchitecture',
    type === undefined
      ? 'config.json has no model_type, so the architecture is unknown.'
      : `config.json: model_type ${JSON.stringify(type)} is no architecture that Weft has.`,
    {
      hint: `Known: ${known.join(', ')}.${type === undefined ? '' : ` Nearest: ${nearest(String(type), known, 1)[0]}.`}`,
    },
  )
}

/** The architecture of a `model_type`, or of one whose tensors have the same names; undefined where there is none. */
export const relativeOf = (type: string): Architecture | undefined =>
  architectures.find(({ modelTypes, kin = [] }) => modelTypes.includes(type) || kin.includes(type))
