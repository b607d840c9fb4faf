/** @file One reading of config.json, whichever Transformers version wrote it. */
import { isJsonObject, type JsonObject } from './json.js'

/** Older spellings of rope's settings (`rope_theta`, `rope_scaling` with `type`) as one `rope_parameters`. */
const ropeParameters = (config: JsonObject): JsonObject | undefined => {
  const { rope_parameters: now, rope_scaling: scaling, rope_theta: theta } = config
  const base: JsonObject = typeof theta === 'number' ? { rope_theta: theta } : {}
  if (isJsonObject(now)) {
    const byLayer = Object.values(now).some(isJsonObject)
    return byLayer ? now : { ...base, ...now }
  }
  if (!isJsonObject(scaling)) return 'rope_theta' in base ? { ...base, rope_type: 'default' } : undefined
  const { type, rope_type: ropeType, ...rest } = scaling
  return { ...base, ...rest, rope_type: ropeType ?? type ?? 'default' }
}

/**
 * `config` with one spelling: `rope_parameters` ({rope_type, rope_theta, ...}) in place of `rope_theta` and
 * `rope_scaling`; `dtype` ("bfloat16") in place of `torch_dtype` ("bfloat16" or "torch.bfloat16"); `hidden_act` also
 * where Gemma writes `hidden_activation`. Keys that are absent stay absent; the argument is not changed.
 */
export const normaliseConfig = (config: JsonObject): JsonObject => {
  const { rope_theta: _theta, rope_scaling: _scaling, torch_dtype: torchDType, ...rest } = config
  const dtype = config.dtype ?? torchDType
  const rope = ropeParameters(config)
  return {
    ...rest,
    ...(typeof dtype === 'string' && { dtype: dtype.replace(/^torch\./, '') }),
    ...(rope && { rope_parameters: rope }),
    ...(typeof config.hidden_activation === 'string' && { hidden_act: config.hidden_activation }),
  }
}
