/**
 * @file LIFT against other masks of as many entries, LoRA of as many numbers and full fine-tuning: a planted support is
 * looked for, and a network that knows one teacher is adapted to others.
 */
import { svd, matrix } from '../../linalg/index.js'
import type { Model } from '../../models/index.js'
import { full, type MeasureContext, type Reproduction, reproduction } from '../../papers/index.js'
import { baseTensor } from '../../models/stored.js'
import { lift } from './lift.js'
import type { MaskKind } from '../../sparse/index.js'
import { planted, recovered } from './planted.js'
import { lora } from '../lora/lora.js'
import {
  type FrontierArm,
  type FrontierMetrics,
  type FrontierSize,
  frontierPlots,
  frontierSizes,
  onBothTargets,
} from '../../experiment/index.js'

type Arm = FrontierArm & { readonly mask?: MaskKind }

const masked = (mask: MaskKind): Arm => ({
  mask,
  rates: [1e-2, 3e-3],
  adapt: (base, { seed, calibration }) =>
    lift(base, {
      mask,
      rank: 2,
      filterRank: 8,
      refresh: 'never',
      targets: ['up', 'down'],
      seed,
      calibration,
    }),
})

const arms = {
  full: { adapt: (base) => Promise.resolve(base), rates: [3e-4, 1e-3] },
  lora: {
    adapt: (base, { seed }) => lora(base, { rank: 2, targets: ['up', 'down'], seed }),
    rates: [1e-2, 3e-3],
  },
  lift: masked('principal'),
  magnitude: masked('magnitude'),
  random: masked('random'),
  gradient: masked('gradient'),
} satisfies Record<string, Arm>

/** How much of a planted support the mask finds, by the rank that is kept; and of one in twice the noise. */
/** Shares of a planted support that a mask finds, by the kept rank, of some masks and ranks. */
type Recovery = Partial<Record<`recovered${1 | 2 | 4 | 8 | 32 | 'InNoise'}`, number>>

const recovery = async (mask: MaskKind, { seed, quick }: MeasureContext): Promise<Recovery> => {
  if (mask !== 'principal' && mask !== 'magnitude') return {}
  const ranks =
    mask === 'magnitude' ? ([4] as const) : quick ? ([4, 32] as const) : ([1, 2, 4, 8, 32] as const)
  const [clear, noisy] = [planted(seed, 0.5), planted(seed, 1)]
  const found: Recovery = {}
  for (const filterRank of ranks)
    found[`recovered${filterRank}`] = await recovered(clear, { mask, filterRank })
  return quick ? found : { ...found, recoveredInNoise: await recovered(noisy, { mask, filterRank: 4 }) }
}

/** The mean over the adapted matrices of ||W||² / σ₁², the stable rank. */
const stableRank = async (base: Model): Promise<number> => {
  const names = base.architecture
    .table(base.config)
    .map(({ name }) => name)
    .filter((name) => /\.(up|down)\.weight$/.test(name))
  let sum = 0
  for (const name of names) {
    const { data, shape } = await baseTensor(base, name)
    const { s } = svd(matrix(shape[0], shape[1], Float64Array.from(data as Float32Array)))
    sum += s.reduce((n, x) => n + x * x, 0) / s[0] ** 2
  }
  return sum / names.length
}

/** Metrics of an arm; `stableRank` of the base, where no mask is chosen. */
type Metrics = FrontierMetrics & Recovery & { readonly stableRank?: number }

const measure = async (arm: Arm, context: MeasureContext<FrontierSize>): Promise<Metrics> => {
  const { base, metrics } = await onBothTargets(arm, context)
  const own = arm.mask ? await recovery(arm.mask, context) : { stableRank: await stableRank(base) }
  return { ...metrics, ...own }
}

const flat = 'weights trained briefly from scratch have flat spectra, in which rank reduction finds little'

export const experiment: Reproduction = reproduction(lift, {
  arms,
  sizes: frontierSizes,
  measure,
  plot: frontierPlots,
  claims: ({ holds, notShown }) => [
    holds('the mask finds nine tenths of a planted support at its rank', (m) => m.lift.recovered4.above(0.9)),
    holds('magnitude finds about half of it', (m) => m.magnitude.recovered4.below(0.55)),
    holds('the more the kept rank is above the true one, the less it finds', (m) =>
      m.lift.recovered32.below(m.lift.recovered4),
    ),
    holds('in twice the noise it finds less than half', (m) => m.lift.recoveredInNoise.below(0.5), full),
    holds('it trains as many numbers as LoRA of rank 2', (m) =>
      m.lift.parameters.within(m.lora.parameters, 0),
    ),
    holds(
      'it learns a conflicting target no worse than random entries',
      (m) => m.lift.conflicting.notAbove(m.random.conflicting, 0),
      full,
    ),
    holds(
      'it learns a new domain no worse than random entries',
      (m) => m.lift.newDomain.notAbove(m.random.newDomain, 0),
      full,
    ),
    holds(
      'it learns a conflicting target better than the largest entries as they are',
      (m) => m.lift.conflicting.below(m.magnitude.conflicting),
      { ...full, known: 'fails', why: flat, paper: 'best of the masks compared' },
    ),
    holds(
      'it learns a conflicting target better than full fine-tuning',
      (m) => m.lift.conflicting.below(m.full.conflicting),
      { ...full, known: 'fails', why: flat, paper: 'better than full fine-tuning' },
    ),
    holds(
      'at the end it has forgotten 5 % less of the source than LoRA',
      (m) => m.lift.conflictingSource.below(m.lora.conflictingSource, 0.05),
      { ...full, paper: 'up to 20 % more kept' },
    ),
    holds(
      'and less than full fine-tuning where both know a conflicting target equally',
      (m) => m.lift.conflictingKept.below(m.full.conflictingKept),
      { ...full, known: 'fails', paper: 'up to 20 % more kept' },
    ),
    holds(
      'and less than LoRA where both know a conflicting target equally',
      (m) => m.lift.conflictingKept.below(m.lora.conflictingKept),
      { ...full, paper: 'up to 20 % more kept' },
    ),
    notShown('reasoning of models of 7 to 8 billion parameters', 'out of reach here'),
    notShown('memory at that size', 'it is computed from shapes; npm run bench adapt measures a small model'),
  ],
})
