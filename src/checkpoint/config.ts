/** @file One reading of config.json, whichever Transformers version wrote it. */
import { isJsonObject, type JsonObject } from './json.js'

/**
 * Older spellings of rope's settings (`rope_theta`, `rope_scaling` with `type`) as one `rope_parameters`. As in
 * Transformers, a `rope_scaling` that holds anything stands in place of `rope_parameters`.
 */
const ropeParameters = (config: JsonObject): JsonObject | undefined => {
  const { rope_parameters: now, rope_scaling: older, rope_theta: theta } = config
  const base: JsonObject = typeof theta === 'number' ? { rope_theta: theta } : {}
  const source = isJsonObject(older) && Object.keys(older).length > 0 ? older : now
  if (!isJsonObject(source)) return 'rope_theta' in base ? { ...base, rope_type: 'default' } : undefined
  if (Object.values(source).some(isJsonObject)) return source
  const { type, rope_type: ropeType, ...rest } = source
  return { ...base, ...rest, rope_type: ropeType ?? type ?? 'default' }
}

/**
 * `config` with one spelling: `rope_parameters` ({rope_type, rope_theta, ...}) in place of `rope_theta` and
 * `rope_scaling`; `dtype` ("bfloat16") in place of `torch_dtype` ("bfloat16" or "torch.bfloat16"). Keys that are absent
 * stay absent; the argument is not changed.
 */
export const normaliseConfig = (config: JsonObject): JsonObject => {
  const { rope_theta: theta, rope_scaling: scaling, torch_dtype: torchDType, ...rest } = config
  const dtype = config.dtype ?? torchDType
  const rope = ropeParameters(config)
  return {
    ...rest,
    // What is no setting at all stays, for whoever reads the result to refuse.
    ...(theta !== undefined && theta !== null && typeof theta !== 'number' && { rope_theta: theta }),
    ...(scaling !== undefined && scaling !== null && !isJsonObject(scaling) && { rope_scaling: scaling }),
    ...(typeof dtype === 'string' && { dtype: dtype.replace(/^torch\./, '') }),
    ...(rope && { rope_parameters: rope }),
  }
}
