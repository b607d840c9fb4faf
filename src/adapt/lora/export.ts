/** @file Adapters that are LoRAs once they are put together, as such: what any server of LoRAs loads. */
import { UsageError } from '../../errors.js'
import type { Parameters } from '../../models/index.js'
import { type Tensor, value, type Value } from '../../tensor/index.js'
import { byShape } from '../../train/index.js'
import { inMemory, valuesAt } from '../core/plan.js'
import { lora } from './lora.js'
import { shortest } from '../core/peft-config.js'
import type { AdaptedModel, LoraFactors, Named, Plan, PlannedSite } from '../core/spec.js'
import { maxOf } from '../../tensor/numbers.js'

type Factors = Omit<LoraFactors, 'A' | 'B'> & Record<'A' | 'B', Value>

const factorsAt = async (plan: Plan, at: PlannedSite, parameters: Parameters<Value>): Promise<Factors> => {
  let rest: Omit<LoraFactors, 'A' | 'B'>
  const program = byShape(({ p }: { p: Named<Tensor> }) => {
    const { A, B, ...others } = plan.method.asLora!(p, at.settings)
    rest = others
    return { A, B }
  })
  const found = await program({ p: await inMemory(valuesAt(plan, at, parameters)) })
  const [A, B] = await Promise.all(
    [found.A, found.B].map(async (v) => value(await v.read(), v.shape, v.dtype)),
  )
  return { A, B, ...rest! }
}

/** The value that most have, and the others by their modules' names as regular expressions. */
const withExceptions = (
  values: ReadonlyMap<string, number>,
): { usual: number; exceptions: Record<string, number> } => {
  const counts = new Map<number, number>()
  for (const v of values.values()) counts.set(v, (counts.get(v) ?? 0) + 1)
  const [[usual]] = [...counts].sort(([, a], [, b]) => b - a)
  const others = [...values].filter(([, v]) => v !== usual)
  return {
    usual,
    exceptions: Object.fromEntries(others.map(([name, v]) => [name.replaceAll('.', '\\.'), v])),
  }
}

/**
 * The LoRA that does on the same base what the adapter does in evaluation. Throws UsageError for a method whose update is
 * no product of two factors, and for a rank that is above what a matrix has.
 */
export const toLora = async ({ plan, ...adapter }: AdaptedModel): Promise<AdaptedModel> => {
  const parameters = { ...adapter.parameters, ...adapter.constants }
  const { method, base, options, sites, whole } = plan
  if (!method.asLora)
    throw new UsageError('NoLora', `${method.paper.id} has no LoRA that does the same`, {
      hint: 'Fold it into the base instead.',
    })
  const found = new Map<string, Factors>()
  for (const at of sites) found.set(at.site.name, await factorsAt(plan, at, parameters))
  const each = (of: (f: Factors) => number) =>
    withExceptions(new Map([...found].map(([name, f]) => [name, of(f)])))
  const [rank, alpha] = [each(({ A }) => A.shape[0]), each((f) => f.alpha)]
  const model = await lora(base, {
    targets: shortest(
      base,
      sites.map(({ site }) => site),
    ),
    modulesToSave: options.modulesToSave,
    bias: options.bias,
    rank: rank.usual,
    alpha: alpha.usual,
    rankPattern: rank.exceptions,
    alphaPattern: alpha.exceptions,
    dropout: maxOf([...found.values()].map(({ dropout = 0 }) => dropout)),
  })
  const factors = [...found].flatMap(([name, { A, B }]) => [
    [`${name}.lora_A.weight`, A],
    [`${name}.lora_B.weight`, B],
  ])
  return model.with(
    Object.fromEntries([...factors, ...whole.map((name) => [name, parameters[name]])]) as never,
  )
}
