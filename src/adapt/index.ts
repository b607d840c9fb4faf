/**
 * @file Adapters. A method of this family takes a base and options, and gives a model with a small trainable part that
 * saves and loads as an adapter folder and folds into plain weights. A new method is a folder, and a line in `entries`.
 */
import type { Checkpoint } from '../checkpoint/index.js'
import { CheckpointError } from '../errors.js'
import type { Model } from '../models/index.js'
import { type Entry, methodsOf } from '../papers/entry.js'
import type { AdaptedModel, AdapterMethod, FoldOptions, LoadOptions } from './core/spec.js'
import { entry as lora, toLora } from './lora/index.js'
import { entry as ia3 } from './ia3/index.js'
import { entry as lnTuning } from './ln-tuning/index.js'
import { entry as bitfit } from './bitfit/index.js'
import { entry as vera } from './vera/index.js'
import { entry as loha } from './loha/index.js'
import { entry as lokr } from './lokr/index.js'
import { entry as poly } from './poly/index.js'
import { entry as oft } from './oft/index.js'
import { entry as adalora } from './adalora/index.js'
import { entry as houlsby } from './houlsby/index.js'
import { entry as pfeiffer } from './pfeiffer/index.js'
import { entry as parallel } from './parallel/index.js'
import { entry as compacter } from './compacter/index.js'
import { entry as vlAdapter } from './vl-adapter/index.js'
import { entry as prompt } from './prompt/index.js'
import { entry as prefix } from './prefix/index.js'
import { entry as pTuning } from './p-tuning/index.js'
import { entry as fish } from './fish/index.js'
import { entry as mam } from './mam/index.js'
import { entry as unipelt } from './unipelt/index.js'
import { entry as mos } from './mos/index.js'
import { entry as mhr } from './mhr/index.js'
import { entry as s2ft } from './s2ft/index.js'
import { entry as lift } from './lift/index.js'
import { entry as ist } from './ist/index.js'
import { entry as dsee } from './dsee/index.js'
import { entry as peftSurvey } from './peft-survey/index.js'

export { adapter } from './core/adapter.js'
export { headModules } from './core/saved-head.js'
export * from './core/bottleneck.js'
export { sizedFor } from './core/budget.js'
export * from './core/spec.js'
export * from './core/initial.js'
export { adapterInput, adapterRows, mixed } from './core/mixed.js'
export { lora, type LoraOptions, toLora } from './lora/index.js'
export { nf4, type Nf4Model, type Nf4Options } from './lora/index.js'
export { ia3, type Ia3Options } from './ia3/index.js'
export { lnTuning, type LnTuningOptions } from './ln-tuning/index.js'
export { bitfit, type BitfitOptions } from './bitfit/index.js'
export { vera, type VeraOptions } from './vera/index.js'
export { loha, type LohaOptions } from './loha/index.js'
export { lokr, type LokrOptions } from './lokr/index.js'
export { poly, type PolyOptions } from './poly/index.js'
export { oft, type OftOptions } from './oft/index.js'
export { adalora, type AdaloraOptions } from './adalora/index.js'
export { houlsby } from './houlsby/index.js'
export { pfeiffer, type PfeifferOptions } from './pfeiffer/index.js'
export { parallel } from './parallel/index.js'
export {
  compacter,
  type CompacterOptions,
  kroneckerProduct,
  kroneckerSum,
  toHoulsby,
} from './compacter/index.js'
export { vlAdapter, type VlAdapterOptions } from './vl-adapter/index.js'
export { type TaskBatches, taskOrder } from './vl-adapter/index.js'
export { type VisionOptions, withVision } from './vl-adapter/index.js'
export { prompt, type PromptOptions } from './prompt/index.js'
export { prefix, type PrefixOptions } from './prefix/index.js'
export { pTuning, type PTuningOptions } from './p-tuning/index.js'
export { fish, type FishOptions } from './fish/index.js'
export { mam, type MamOptions } from './mam/index.js'
export { unipelt, type UnipeltOptions } from './unipelt/index.js'
export { mos, type MosOptions } from './mos/index.js'
export { mhr, type MhrOptions } from './mhr/index.js'
export { s2ft, type S2ftOptions } from './s2ft/index.js'
export { lift, type LiftOptions } from './lift/index.js'
export { ist, istAround, type IstOptions } from './ist/index.js'
export { layerImportance, layerSampled, type LayerSampling } from './ist/index.js'
export { dsee, type DseeOptions, prunedNow } from './dsee/index.js'
export { type Cost, costs } from './peft-survey/index.js'

/** Entries of the family, one a method: the contract suite, the command line and the catalogue read this list. */
export const entries = [
  lora,
  ia3,
  lnTuning,
  bitfit,
  vera,
  loha,
  lokr,
  poly,
  oft,
  adalora,
  houlsby,
  pfeiffer,
  parallel,
  compacter,
  vlAdapter,
  prompt,
  prefix,
  pTuning,
  fish,
  mam,
  unipelt,
  mos,
  mhr,
  s2ft,
  lift,
  ist,
  dsee,
  peftSurvey,
] as readonly Entry<AdapterMethod<never>>[]

/** Methods of the family. */
export const methods: readonly AdapterMethod<never>[] = methodsOf(entries)

/**
 * The adapter in `folder` (PEFT's or Weft's; `name` for one in a sub-folder) on its base. Throws CheckpointError for a
 * method that Weft lacks, tensors that are missing, unexpected or of another shape, and a base that is not the one the
 * adapter names (`force` loads it all the same; PEFT's own name none, which is a warning).
 */
export const loadAdapter = async (
  base: Checkpoint | Model,
  folder: string,
  { name, ...options }: LoadOptions & { readonly name?: string } = {},
): Promise<AdaptedModel> => {
  const { readAdapter } = await import('../checkpoint/index.js')
  const saved = await readAdapter(folder, name)
  await using _open = saved.tensors
  const method = methods.find(({ peftType }) => peftType === saved.config.peft_type)
  if (method) return await method.load(base, saved, options)
  throw new CheckpointError(
    'UnknownMethod',
    `${saved.folder}: peft_type ${JSON.stringify(saved.config.peft_type)} is no method that Weft has.`,
    { hint: `It has: ${methods.map(({ peftType }) => peftType).join(', ')}.` },
  )
}

/**
 * Writes `model` as a plain LoRA of PEFT to `folder`: pools, inventories and routes put together. Throws UsageError for a
 * method whose update is none of low rank.
 */
export const exportLora = async (model: AdaptedModel, folder: string): Promise<void> =>
  (await toLora(model)).save(folder)

/** Writes `model`'s base with its adapter folded in, a plain checkpoint, to `folder`. */
export const fold = (model: AdaptedModel, folder: string, options?: FoldOptions): Promise<void> =>
  model.fold(folder, options)
