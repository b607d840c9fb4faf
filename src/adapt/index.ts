/**
 * @file Adapters. A method of this family takes a base and options, and gives a model with a small trainable part that
 * saves and loads as an adapter folder and folds into plain weights. A new method is a file, and a line in `methods`.
 */
import type { Checkpoint } from '../checkpoint/index.js'
import { CheckpointError } from '../errors.js'
import type { Model } from '../models/index.js'
import type { CataloguedMethod } from '../catalogue/families.js'
import { mhr } from './mhr/mhr.js'
import { mos } from './mos/mos.js'
import { oft } from './oft/oft.js'
import { pTuning } from './p-tuning/p-tuning.js'
import { mam } from './mam/mam.js'
import { peftSurvey } from './peft-survey/peft-survey.js'
import { poly } from './poly/poly.js'
import { prefix } from './prefix/prefix.js'
import { prompt } from './prompt/prompt.js'
import { lift } from './lift/lift.js'
import { s2ft } from './s2ft/s2ft.js'
import type { AdaptedModel, AdapterMethod, FoldOptions, LoadOptions } from './core/spec.js'
import { unipelt } from './unipelt/unipelt.js'
import { vera } from './vera/vera.js'
import { vlAdapter } from './vl-adapter/vl-adapter.js'
import { adalora } from './adalora/adalora.js'
import { bitfit } from './bitfit/bitfit.js'
import { houlsby, parallel, pfeiffer } from './bottleneck/bottleneck.js'
import { compacter } from './compacter/compacter.js'
import { dsee } from './dsee/dsee.js'
import { fish } from './fish/fish.js'
import { ia3 } from './ia3/ia3.js'
import { ist } from './ist/ist.js'
import { lnTuning } from './ln-tuning/ln-tuning.js'
import { loha } from './loha/loha.js'
import { lokr } from './lokr/lokr.js'
import { lora } from './lora/lora.js'
import { toLora } from './lora/export.js'

export { adapter } from './core/adapter.js'
export * from './core/spec.js'
export * from './core/initial.js'
export { adalora, type AdaloraOptions } from './adalora/adalora.js'
export { bitfit, type BitfitOptions } from './bitfit/bitfit.js'
export * from './bottleneck/bottleneck.js'
export {
  compacter,
  type CompacterOptions,
  kroneckerProduct,
  kroneckerSum,
  toHoulsby,
} from './compacter/compacter.js'
export { dsee, type DseeOptions, prunedNow } from './dsee/dsee.js'
export { fish, type FishOptions } from './fish/fish.js'
export { ia3, type Ia3Options } from './ia3/ia3.js'
export { ist, type IstOptions, layerImportance, layerSampled, type LayerSampling } from './ist/ist.js'
export { lnTuning, type LnTuningOptions } from './ln-tuning/ln-tuning.js'
export { loha, type LohaOptions } from './loha/loha.js'
export { lokr, type LokrOptions } from './lokr/lokr.js'
export { lora, type LoraOptions } from './lora/lora.js'
export { mhr, type MhrOptions } from './mhr/mhr.js'
export { mos, type MosOptions } from './mos/mos.js'
export { toLora } from './lora/export.js'
export { nf4, type Nf4Model, type Nf4Options } from './lora/nf4.js'
export { adapterInput, adapterRows, mixed } from './core/mixed.js'
export { oft, type OftOptions } from './oft/oft.js'
export { pTuning, type PTuningOptions } from './p-tuning/p-tuning.js'
export { mam, type MamOptions } from './mam/mam.js'
export { type Cost, costs, peftSurvey } from './peft-survey/peft-survey.js'
export { savedBytes } from '../train/saved-bytes.js'
export { poly, type PolyOptions } from './poly/poly.js'
export { prefix, type PrefixOptions } from './prefix/prefix.js'
export { prompt, type PromptOptions } from './prompt/prompt.js'
export { lift, type LiftOptions } from './lift/lift.js'
export { s2ft, type S2ftOptions } from './s2ft/s2ft.js'
export { heads, type Site, sitesOf, type Targets, targetSites } from '../models/sites.js'
export { unipelt, type UnipeltOptions } from './unipelt/unipelt.js'
export { vera, type VeraOptions } from './vera/vera.js'
export { vlAdapter, type VlAdapterOptions } from './vl-adapter/vl-adapter.js'
export { type TaskBatches, taskOrder } from './vl-adapter/batches.js'
export { type VisionOptions, withVision } from './vl-adapter/vision.js'

/** Every method of the family: the contract suite, the command line and the catalogue read this list. */
export const methods: readonly AdapterMethod<never>[] = [
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
] as readonly AdapterMethod<never>[]

/** What the family has in the catalogue: its methods, and the survey that they come from. */
export const papers: readonly CataloguedMethod[] = [...methods, peftSurvey]

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
