/** @file A saved adapter on its base: its config becomes a plan, its file the plan's values. */
import type { Adapter } from '../../checkpoint/index.js'
import { CheckpointError, UsageError } from '../../errors.js'
import type { Model, Parameters } from '../../models/index.js'
import type { Value } from '../../tensor/index.js'
import { onHeldTensors, withItsVocabulary } from './held.js'
import { loadParameters } from './peft.js'
import { optionsOf } from './peft-config.js'
import { checked, type Method, planOf } from './plan.js'
import type { LoadOptions, Plan } from './spec.js'

/** Options that make no sense are the adapter's fault here, not the caller's. */
const asItsFault = <T>({ folder }: Adapter, work: () => T): T => {
  try {
    return work()
  } catch (cause) {
    if (!(cause instanceof UsageError)) throw cause
    const { code, message, hint } = cause
    const said = hint ? message.slice(0, -`\n  ${hint}`.length) : message
    throw new CheckpointError(code, `${folder}: ${said}`, { hint, cause })
  }
}

/**
 * The plan and the values of a saved adapter of `method` on `model`. Throws CheckpointError for what its config asks for and
 * Weft has not, for options that do not fit the base, for tensors that are missing, unexpected or of another shape, and for
 * a base that is not the adapter's.
 */
export const loadAdapted = async (
  method: Method,
  model: Model,
  adapter: Adapter,
  options: LoadOptions,
): Promise<{ readonly plan: Plan; readonly parameters: Parameters<Value> }> => {
  const { onWarning = console.warn, replace } = options
  const saved = (await method.read?.(model, adapter)) ?? adapter
  const base = withItsVocabulary(model, saved)
  const read = { ...optionsOf(method, base, saved, onWarning), ...replace }
  const unmatched = ({ message }: Error): void => onWarning(`${saved.folder}: ${message}`)
  const planned = asItsFault(saved, () => planOf(method, base, checked(method, read), unmatched))
  const plan = await onHeldTensors(planned, saved)
  const parameters = await loadParameters(plan, saved, options)
  const changed = await method.loaded?.(plan, parameters, saved.config)
  if (!changed) return { plan, parameters }
  const again = planOf(method, plan.base, { ...plan.options, ...changed.options }, () => undefined)
  return { plan: { ...again, held: plan.held }, parameters: changed.parameters }
}
