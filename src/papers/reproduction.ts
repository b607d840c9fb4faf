/** @file A reproduction as data: arms at equal budget, one function that trains and measures, claims about the outcome. */
import type { Paper } from './card.js'
import type { Measured, Plot } from './plot.js'
import type { Finding } from './sample.js'

/** What measuring one arm with one seed is given. */
export interface MeasureContext {
  readonly seed: number
  /** Do it in seconds: fewer steps, a smaller model; the claims are then only shown in direction, if at all. */
  readonly quick: boolean
  readonly signal?: AbortSignal
  /** Records values under way, for curves: `log({ step, loss })`. */
  log(values: { readonly [name: string]: number }): void
}

/** Whether a claim is borne out. `not-shown`: out of reach at this scale, so nothing is said about it. */
export type Verdict = 'holds' | 'fails' | 'not-shown'

/** A claim that the measurements decide, or one that they cannot. */
export interface ReproductionClaim {
  readonly text: string
  /** What the paper reports, in words; see `inWords` for the words of a card's claim. */
  readonly paper?: string
  /** Absent for what is out of reach at this scale. */
  readonly test?: (measured: Measured) => Finding
  /** Why it is not shown, or why it is known not to hold here. */
  readonly why?: string
  /** The full experiment is needed: `--quick` leaves the verdict open unless the claim holds. */
  readonly fullOnly?: boolean
  /** It was found not to hold here, and the card says so before anybody runs it again. */
  readonly known?: 'fails'
}

/** What is known of a claim beside its text and test. */
export type ClaimNotes = Pick<ReproductionClaim, 'paper' | 'why' | 'fullOnly' | 'known'>

/** A claim that `test` decides. */
export const holds = (
  text: string,
  test: (measured: Measured) => Finding,
  notes: ClaimNotes = {},
): ReproductionClaim => ({ text, test, ...notes })

/** Notes of a claim that only the full experiment can decide. */
export const full: ClaimNotes = { fullOnly: true }

/** A claim of the paper that nothing of this size can show, with the reason. */
export const notShown = (
  text: string,
  why: string,
  notes: Pick<ClaimNotes, 'paper'> = {},
): ReproductionClaim => ({
  text,
  why,
  ...notes,
})

/** An experiment with everything but the run. */
export interface Reproduction {
  readonly paper: Paper
  /** Names of the arms, the method's own among them. */
  readonly arms: readonly string[]
  /** Default number of seeds. */
  readonly seeds: number
  measure(arm: string, context: MeasureContext): Promise<{ readonly [metric: string]: number }>
  readonly claims: readonly ReproductionClaim[]
  readonly plots: readonly Plot[]
}

/** What `reproduction` takes: arms by name. */
export interface ReproductionSpec<Arm> {
  readonly arms: { readonly [name: string]: Arm }
  /** At least 3; default 3. */
  readonly seeds?: number
  /** Trains and measures one arm. The same seed must mean the same data for every arm: comparisons pair seeds. */
  readonly measure: (arm: Arm, context: MeasureContext) => Promise<{ readonly [metric: string]: number }>
  readonly claims: readonly ReproductionClaim[]
  readonly plot?: Plot | readonly Plot[]
}

/**
 * Declares the small-scale experiment of a method.
 *
 *     export const experiment = reproduction(mos, {
 *       arms: { lora: { rank: 2 }, mos: { rank: 6 } },
 *       measure: async (arm, { seed, quick, log }) => ({ loss: await trained(arm, seed) }),
 *       claims: [holds('MoS beats LoRA at equal budget', (m) => m.mos.loss.below(m.lora.loss))],
 *       plot: bars({ y: 'loss' }),
 *     })
 */
export const reproduction = <Arm>(
  { paper }: { readonly paper: Paper },
  { arms, seeds = 3, measure, claims, plot = [] }: ReproductionSpec<Arm>,
): Reproduction => ({
  paper,
  arms: Object.keys(arms),
  seeds,
  measure: (arm, context) => measure(arms[arm], context),
  claims,
  plots: [plot].flat() as Plot[],
})
