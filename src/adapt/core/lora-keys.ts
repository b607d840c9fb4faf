/** @file Keys that LoRA's configs have in PEFT, AdaLoRA's among them, for what is not in use or changes no output. */
import type { JsonObject } from '../../checkpoint/index.js'

/** Variants that change what an adapter computes. */
export const loraVariants: JsonObject = {
  alora_invocation_tokens: null,
  arrow_config: null,
  kasa_config: null,
  layer_replication: null,
  monteclora_config: null,
  use_bdlora: null,
  use_qalora: false,
}

/** How a start was found, how a base is laid out in memory, and another backward pass. */
export const loraHarmless: JsonObject = {
  corda_config: null,
  eva_config: null,
  loftq_config: {},
  lora_ga_config: null,
  megatron_config: null,
  megatron_core: 'megatron.core',
  qalora_group_size: 16,
  velora_config: null,
}
