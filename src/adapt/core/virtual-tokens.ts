/** @file What methods of virtual tokens share: options, how the base is described in PEFT's config, and what they ask of it. */
import { z } from 'zod'
import type { JsonObject } from '../../checkpoint/index.js'
import { CheckpointError, UsageError } from '../../errors.js'
import type { Model } from '../../models/index.js'
import { compile, concat, full, type Tensor, type Value } from '../../tensor/index.js'
import { type CommonKey, type CommonOptions, commonOptions, type Named } from './spec.js'

/** Options of virtual tokens. */
export interface VirtualTokenOptions extends Pick<CommonOptions, 'modulesToSave' | 'seed'> {
  /** Number p of virtual tokens. Default 20. */
  readonly tokens: number
}

/** The schema of `VirtualTokenOptions`, for a method to extend: they stand at no module that could be chosen. */
export const virtualTokenOptions: z.ZodObject = commonOptions
  .omit({ targets: true, exclude: true, layers: true, layersPattern: true, bias: true })
  .extend({ tokens: z.number().int().positive().default(20).describe('number of virtual tokens') })

/** Keys that adapter_config.json has of adapters at modules only. */
export const lacksModules: readonly CommonKey[] = [
  'bias',
  'exclude_modules',
  'layers_pattern',
  'layers_to_transform',
  'target_modules',
]

/** The error of a method for which the base lacks something. */
export const notApplicable = (method: string, { architecture }: Model, what: string): UsageError =>
  new UsageError('NotApplicable', `${method}: ${architecture.name} has no ${what}`, {
    hint: 'Methods at linear modules fit it: lora, adalora, loha, lokr, oft, vera, houlsby, parallel, ...',
  })

/** The name of the table of token embeddings: the first embedding there is. Throws UsageError where there is none. */
export const tokenTable = (
  method: string,
  base: Model,
): { readonly name: string; readonly width: number } => {
  const spec = base.architecture.table(base.config).find(({ kind }) => kind === 'embedding')
  if (!spec) throw notApplicable(method, base, 'token embeddings')
  return { name: spec.name.slice(0, -'.weight'.length), width: spec.shape[1] }
}

/** The numbers of config.json that PEFT repeats, whatever the architecture calls them. */
export const describedBase = ({ checkpoint: { config } }: Model): JsonObject => ({
  num_attention_heads: config.num_attention_heads ?? config.n_head ?? config.num_heads ?? null,
  num_layers: config.num_hidden_layers ?? config.num_layers ?? config.n_layer ?? null,
  token_dim: config.hidden_size ?? config.n_embd ?? config.d_model ?? null,
})

/** Throws CheckpointError for a config without `num_virtual_tokens`. */
export const requireTokens = ({ num_virtual_tokens: tokens }: JsonObject): void => {
  if (typeof tokens === 'number' && Number.isInteger(tokens) && tokens > 0) return
  throw new CheckpointError(
    'InvalidAdapter',
    `adapter_config.json: num_virtual_tokens is ${JSON.stringify(tokens)}; expected a positive integer.`,
  )
}

/** x: [rows, n, ...] behind `count` numbers `fill` a row. -> [rows, count + n, ...]. */
export const behind = (count: number, fill: number | boolean, x: Tensor): Tensor =>
  concat([full([x.shape[0], count], fill, x.dtype), x], 1)

/** The value of `f` at these parameters, computed once. */
export const computed = async (f: (p: Named<Tensor>) => Tensor, parameters: Named<Value>): Promise<Value> => {
  const program = await compile(({ p }: { p: Record<string, Tensor> }) => f(p), { p: { ...parameters } })
  return program.run({ p: { ...parameters } } as never) as unknown as Promise<Value>
}
