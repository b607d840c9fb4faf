/** @file A reproduction as data: arms at equal budget, one function that trains and measures, claims about the outcome. */
import type { Paper } from './card.js'
import type { Measured, Plot } from './plot.js'
import type { Finding, Sample } from './sample.js'

/** Surroundings in which one arm is measured with one seed. `Size`: the experiment's own sizes. */
export interface MeasureContext<Size = unknown> {
  readonly seed: number
  /** Do it in seconds: fewer steps, a smaller model; the claims are then only shown in direction, if at all. */
  readonly quick: boolean
  /** The experiment's quick size, or its full one. */
  readonly size: Size
  readonly signal?: AbortSignal
  /** Records values under way, for curves: `log({ step, loss })`. */
  log(values: { readonly [name: string]: number }): void
  /** The value of `make`, made once for all arms of this seed; it is let go when the seed is done. */
  once<T>(name: string, make: () => Promise<T>): Promise<T>
  /** The value of `make`, made once for all seeds: what does not depend on the seed. */
  onceForAll<T>(name: string, make: () => Promise<T>): Promise<T>
}

/** Whether a claim is borne out. `not-shown`: out of reach at this scale, so nothing is said about it. */
export type Verdict = 'holds' | 'fails' | 'not-shown'

/** A claim that the measurements decide, or one that they cannot. */
export interface ReproductionClaim {
  readonly text: string
  /** Report of the paper, in words; see `inWords` for the words of a card's claim. */
  readonly paper?: string
  /** Absent for what is out of reach at this scale. */
  readonly test?: (measured: Measured) => Finding
  /** Why it is not shown, or why it is known not to hold here. */
  readonly why?: string
  /** The full experiment is needed: `--quick` leaves the verdict open unless the claim holds. */
  readonly fullOnly?: boolean
  /** Mark of a claim that was found not to hold here: the card says so before anybody runs it again. */
  readonly known?: 'fails'
}

/** What is known of a claim beside its text and test. */
export type ClaimNotes = Pick<ReproductionClaim, 'paper' | 'why' | 'fullOnly' | 'known'>

/** Notes of a claim that only the full experiment can decide. */
export const full: ClaimNotes = { fullOnly: true }

/** Samples by arm and by metric: `m.lora.loss`. */
export type MeasuredBy<Arm extends string, Metrics> = {
  readonly [arm in Arm]: { readonly [metric in keyof Metrics]-?: Sample }
}

/** Ways to state a claim, which know the experiment's arms and metrics. */
export interface ClaimWords<Arm extends string, Metrics> {
  /** A claim that `test` decides. */
  holds(
    text: string,
    test: (measured: MeasuredBy<Arm, Metrics>) => Finding,
    notes?: ClaimNotes,
  ): ReproductionClaim
  /** A claim of the paper that nothing of this size can show, with the reason. */
  notShown(text: string, why: string, notes?: Pick<ClaimNotes, 'paper'>): ReproductionClaim
}

// The runner judges every claim by the samples of its own experiment, so the erased types are theirs.
const claimWords: ClaimWords<string, Record<string, number>> = {
  holds: (text, test, notes = {}) => ({ text, test, ...notes }),
  notShown: (text, why, notes = {}) => ({ text, why, ...notes }),
}

/** The two sizes of an experiment: seconds for `--quick`, and what claims are decided by. */
export interface Sizes<Size> {
  readonly quick: Size
  readonly full: Size
}

/** An experiment with everything but the run. */
export interface Reproduction {
  readonly paper: Paper
  /** Names of the arms, the method's own among them. */
  readonly arms: readonly string[]
  /** Default number of seeds. */
  readonly seeds: number
  /** Metrics of an arm with the context's seed. The context's size is set here. */
  measure(arm: string, context: Omit<MeasureContext, 'size'>): Promise<{ readonly [metric: string]: number }>
  readonly claims: readonly ReproductionClaim[]
  readonly plots: readonly Plot[]
}

/** Declaration of an experiment. `Arms`: arms by name; `Metrics`: numbers that measuring one gives. */
export interface ReproductionSpec<Arms extends object, Size, Metrics extends object> {
  readonly arms: Arms
  /** Sizes of the quick and the full form; `context.size` is one of the two. */
  readonly sizes?: Sizes<Size>
  /** Number of seeds, at least 3. Default 3. */
  readonly seeds?: number
  /** Trains and measures one arm. The same seed must mean the same data for every arm: comparisons pair seeds. */
  readonly measure: (arm: Arms[keyof Arms], context: MeasureContext<Size>) => Promise<Metrics>
  readonly claims: (words: ClaimWords<keyof Arms & string, Metrics>) => readonly ReproductionClaim[]
  readonly plot?: Plot | readonly Plot[]
}

/**
 * Declares the small-scale experiment of a method. A claim about an arm or a metric that there is not does not compile.
 *
 *     export const experiment = reproduction(mos, {
 *       arms: { lora: { rank: 2 }, mos: { rank: 6 } },
 *       sizes: { quick: { steps: 20 }, full: { steps: 2000 } },
 *       measure: async (arm, { seed, size, log }) => ({ loss: await trained(arm, size, seed) }),
 *       claims: ({ holds }) => [holds('MoS beats LoRA at equal budget', (m) => m.mos.loss.below(m.lora.loss))],
 *       plot: bars({ y: 'loss' }),
 *     })
 */
export const reproduction = <Arms extends object, Metrics extends object, Size = unknown>(
  { paper }: { readonly paper: Paper },
  { arms, sizes, seeds = 3, measure, claims, plot = [] }: ReproductionSpec<Arms, Size, Metrics>,
): Reproduction => ({
  paper,
  arms: Object.keys(arms),
  seeds,
  measure: async (arm, context) => {
    const size = sizes?.[context.quick ? 'quick' : 'full'] as Size
    const metrics = await measure(arms[arm as keyof Arms], { ...context, size })
    return metrics as { readonly [metric: string]: number }
  },
  claims: claims(claimWords as unknown as ClaimWords<keyof Arms & string, Metrics>),
  plots: [plot].flat() as Plot[],
})
