/**
 * @file DSEE (Chen et al. 2021, arXiv 2111.00160): W * S₁ + s (U V + S₂), s = α / r. The update is of low rank and free in N
 * entries more, whose places Ω are found in W before training. At a step of training the base is pruned, by single entries
 * (S₁) or by whole heads and hidden channels; the rest of the run tunes U, V and S₂ with what is left. Masks are inputs of
 * the program from the start, so nothing is compiled again; folded, a model without heads and channels is smaller.
 */
import { UsageError } from '../../errors.js'
import type { Site } from '../../models/sites.js'
import { bitmapLength, unpackBits } from '../../sparse/index.js'
import { concat, oneHot, range, type Tensor, value, zeros as zerosTensor } from '../../tensor/index.js'
import { adapter } from '../core/adapter.js'
import { normalWith, ones, zeros } from '../core/initial.js'
import type {
  AdaptedModel,
  AdapterMethod,
  AdapterSpec,
  LoraFactors,
  Named,
  ParameterSpec,
  SiteContext,
} from '../core/spec.js'
import { card } from './card.js'
import { foundMasks, isPruned, keys, unitsLeft, zerosLost } from './masks.js'
import { omegaOf } from './omega.js'
import { type DseeOptions, type DseeSettings, options, prunes, resolved, settings } from './options.js'
import { training } from './training.js'

const parameters = (_: Site, s: DseeSettings): Named<ParameterSpec> => ({
  ...(s.rank && {
    V: { key: keys.V, shape: [s.rank, s.in], initial: normalWith(0.02) },
    U: { key: keys.U, shape: [s.out, s.rank], initial: zeros },
  }),
  ...(s.entries && {
    values: { key: keys.values, shape: [s.entries], initial: zeros },
    indices: {
      key: keys.indices,
      shape: [s.entries],
      still: true,
      initial: async ({ weight, key }) => {
        const { data, shape } = await weight()
        const omega = await omegaOf({ data: data as Float32Array, shape }, s.entries, key, s.omega)
        return value(omega, [s.entries], 'int32')
      },
    },
  }),
  ...(s.masked && {
    mask: {
      key: keys.mask,
      shape: [bitmapLength(s.in * s.out)],
      still: true,
      initial: ({ shape }) => value(new Uint8Array(shape[0]).fill(255), shape, 'uint8'),
    },
  }),
  ...(s.units && { units: { key: keys.units, shape: [s.units], initial: ones, still: true } }),
  ...(s.units &&
    s.coefficients && { coefficients: { key: keys.coefficients, shape: [s.units], initial: ones } }),
})

/** Factors of the entries of the input: coefficients of units that stay, 0 for the others. -> [in]. */
const inputsKept = (
  { units, coefficients }: Partial<Named<Tensor>>,
  { in: width, units: count }: DseeSettings,
): Tensor =>
  (coefficients ? units!.mul(coefficients) : units!)
    .unsqueeze(1)
    .expand([count, width / count])
    .reshape([width])

/** s (U V + S₂): [out, in]; undefined at a module that is pruned alone. */
const updateOf = ({ U, V, values, indices }: Partial<Named<Tensor>>, s: DseeSettings): Tensor | undefined => {
  const shape = [s.out, s.in]
  const dense = U && V && U.matmul(V)
  if (!values || !indices) return dense?.mul(s.scale)
  const onto = dense ?? zerosTensor(shape)
  return onto
    .reshape([s.out * s.in])
    .scatter(indices, values, { add: true })
    .reshape(shape)
    .mul(s.scale)
}

/** What is left of the base: y where nothing can be gone. y: [..., out]; x: [..., in], without the units that are. */
const ofBase = (
  y: Tensor,
  x: Tensor,
  { mask, units }: Partial<Named<Tensor>>,
  s: DseeSettings,
  { weight, bias, base }: SiteContext,
): Tensor => {
  if (!mask) return units ? base(x) : y
  const dense = x.matmul(
    weight()
      .mul(unpackBits(mask, [s.out, s.in]))
      .t(),
  )
  const b = bias()
  return b ? dense.add(b) : dense
}

/** y with the update's output added: x to V and U, and the free entries one by one. y: [..., out]; x: [..., in]. */
const updated = (
  y: Tensor,
  x: Tensor,
  { U, V, values, indices }: Partial<Named<Tensor>>,
  s: DseeSettings,
): Tensor => {
  const lowRank = U && V ? y.add(x.matmul(V.t()).matmul(U.t()).mul(s.scale)) : y
  if (!values || !indices) return lowRank
  const each = x.gather(indices.mod(s.in), -1).mul(values).mul(s.scale)
  const rows = indices.div(s.in).expand(each.shape)
  return lowRank.scatter(rows, each, { add: true })
}

/** A and B of the update with the free entries as one-hot rows of A; where that is more than the full rank, with B = 1. */
const asLora = ({ U, V, values, indices }: Partial<Named<Tensor>>, s: DseeSettings): LoraFactors => {
  if (s.masked || s.units)
    throw new UsageError('NoLora', 'dsee: the base is pruned too, which a LoRA beside it cannot be', {
      hint: 'Fold it into the base instead.',
    })
  const rank = s.rank + s.entries
  const full = Math.min(s.in, s.out)
  if (!values || !indices) return { A: V!, B: U!, alpha: s.scale * rank }
  if (rank > full) {
    const whole = updateOf({ U, V, values, indices }, s)!
    const one = oneHot(range(0, full), full)
    return s.out <= s.in ? { A: whole, B: one, alpha: full } : { A: one, B: whole, alpha: full }
  }
  const A = oneHot(indices.mod(s.in), s.in)
  const B = oneHot(indices.div(s.in), s.out).t().mul(values)
  const alpha = s.scale * rank
  return U && V ? { A: concat([V, A], 0), B: concat([U, B], 1), alpha } : { A, B, alpha }
}

const spec: AdapterSpec<DseeOptions, DseeSettings> = {
  paper: card,
  peftType: 'DSEE',
  options,
  size: { option: 'rank', kind: 'count' },
  kinds: ['linear'],
  resolve: async (base, o) => resolved(base, o),
  settings,
  parameters,
  linear(y, x, p, s, context) {
    const left = p.units ? x.mul(inputsKept(p, s)) : x
    return updated(ofBase(y, left, p, s, context), context.dropout(left, s.dropout), p, s)
  },
  fold(W, p, s) {
    const masked = p.mask ? W.mul(unpackBits(p.mask, [s.out, s.in])) : W
    const update = updateOf(p, s)
    const whole = update ? masked.add(update) : masked
    return p.units ? whole.mul(inputsKept(p, s)) : whole
  },
  cut: unitsLeft,
  loses: zerosLost,
  asLora,
  training,
  peft: {
    keys: {
      r: 'rank',
      lora_alpha: 'alpha',
      lora_dropout: 'dropout',
      entries: 'entries',
      omega: 'omega',
      omega_threshold: 'omegaThreshold',
      omega_rounds: 'omegaRounds',
      omega_growth: 'omegaGrowth',
      sparsity: 'sparsity',
      prune: 'prune',
      threshold: 'threshold',
      heads: 'heads',
      hidden: 'hidden',
      score: 'score',
      prune_at: 'pruneAt',
      coefficients: 'coefficients',
      penalty: 'penalty',
      // None is not the same as not said.
      updated: { option: 'updated', read: (names) => names as string[] },
      masked: { option: 'masked', read: (names) => names as string[] },
    },
  },
}

/**
 * DSEE on `base`, a checkpoint or an open model: a model whose parameters are U, V and the free entries S₂ of every target, by
 * default queries and values. What `sparsity`, `heads` and `hidden` name is pruned by `fit` at the step that `pruneAt`
 * says, once; a saved adapter that is trained on keeps its masks. Throws UsageError for a target that matches nothing, a
 * rank or a number of entries that a matrix cannot have, heads that share key heads with others, and units whose absence
 * config.json could not say.
 */
export const dsee: AdapterMethod<DseeOptions> = adapter(spec)

/**
 * The model with its base pruned now, as its options say, by its present update; as it is where that was done before.
 * Throws UsageError for a model that is no DSEE or has nothing to prune, and where a score looks at an update that is zero.
 */
export const prunedNow = async (model: AdaptedModel): Promise<AdaptedModel> => {
  const { plan, parameters: own } = model
  const o = plan.options as DseeOptions
  if (plan.method.peftType !== spec.peftType || !prunes(o))
    throw new UsageError('NothingToPrune', `${plan.method.paper.id}: this adapter does not prune`, {
      hint: 'Make one with dsee and sparsity, heads or hidden.',
    })
  if (await isPruned(plan, own)) return model
  return model.with({ ...own, ...(await foundMasks(plan, own, o)) })
}
