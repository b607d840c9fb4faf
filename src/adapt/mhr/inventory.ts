/**
 * @file Kinds of skills that MHR has an inventory of: pairs of low-rank factors (LoRA, see core/routing.ts), or vectors that
 * multiply a module's outputs ((IA)³, Liu et al. 2022), ones at first. Vectors: [h, S, out / h]; a row's task mixes them
 * part by part, l̄_q = Σ_s w_{t,q,s} l_{q,s}, and the module gives l̄ ⊙ (W x + b).
 */
import { UsageError } from '../../errors.js'
import type { Model, Parameters } from '../../models/index.js'
import { type Site, sitesOf } from '../../models/sites.js'
import { matcher } from '../../models/targets.js'
import { type Tensor, type Value, valueOf } from '../../tensor/index.js'
import { type Initial, ones, uniformWithin, zeros } from '../core/initial.js'
import { mixtureOf, routed, routedLora, type RoutedSettings, skillSpecs } from '../core/routing.js'
import type { LoraFactors, Named, ParameterSpec, SiteContext } from '../core/spec.js'

/** Kinds of skills. */
export const skillKinds = ['lora', 'ia3'] as const
/** Kind of skill. */
export type SkillKind = (typeof skillKinds)[number]

/** Values that an inventory begins with: those of a trained one, as they are or averaged over skills. */
export interface Beginning {
  readonly trained?: Parameters<Value>
  readonly averaged: boolean
}

/** What an inventory of one kind of skills is. */
export interface Inventory {
  /** Sides of a weight along which skills are cut in parts. */
  readonly sides: readonly ('in' | 'out')[]
  /** Parameter that makes a skill do nothing, and what its numbers are then. */
  readonly untouched: { readonly key: string; readonly value: number }
  /** Modules that skills stand at by default. */
  targets(base: Model): string | readonly string[]
  /** Skills of a module. */
  skills(site: Site, s: RoutedSettings, beginning: Beginning): Named<ParameterSpec>
  /** Output of a module with its skills. y: [batch, ..., out], x: [batch, ..., in]. */
  linear(y: Tensor, x: Tensor, p: Named<Tensor>, s: RoutedSettings, context: SiteContext): Tensor
  /** Weight that does the same for the options' task. W: [out, in]. */
  fold(W: Tensor, p: Named<Tensor>, s: RoutedSettings): Tensor
  /** Bias that goes with it. b: [out]. */
  foldBias(b: Tensor, p: Named<Tensor>, s: RoutedSettings): Tensor
  /** Update of the options' task as LoRA. Throws UsageError where it is none. */
  asLora(p: Named<Tensor>, s: RoutedSettings): LoraFactors
}

/** Skills averaged, parts laid end to end along `axis` of what remains. [h, S, ...rest] -> [1, 1, ...rest], that axis h times as long. */
const meanOf = ({ data, shape }: Value, axis: number): Value => {
  const [splits, skills, ...rest] = shape
  const outer = rest.slice(0, axis).reduce((a, b) => a * b, 1)
  const inner = rest.slice(axis).reduce((a, b) => a * b, 1)
  const out = new Float32Array(splits * outer * inner)
  for (let q = 0; q < splits; q++)
    for (let s = 0; s < skills; s++)
      for (let i = 0; i < outer; i++)
        for (let j = 0; j < inner; j++)
          out[(i * splits + q) * inner + j] +=
            Number(data[((q * skills + s) * outer + i) * inner + j]) / skills
  return valueOf(out, [1, 1, ...rest.map((size, i) => (i === axis ? splits * size : size))])
}

/** `fresh`, or the trained inventory's values. `axis`: where parts are laid end to end, of [h, S, ...]'s last axes. */
const begun = (
  site: Site,
  key: string,
  { trained, averaged }: Beginning,
  axis: number,
  fresh: Initial,
): Initial => {
  const values = trained?.[`${site.name}.${key}`]
  if (!values) return fresh
  return averaged ? () => meanOf(values, axis) : () => values
}

const factors: Inventory = {
  sides: ['in', 'out'],
  untouched: { key: 'poly_lora_B', value: 0 },
  targets: () => 'all-linear',
  skills(site, s, beginning) {
    const bound = Math.sqrt(1 / 3 / site.in)
    const random = uniformWithin(() => bound)
    return skillSpecs(site, s, {
      A: begun(site, 'poly_lora_A', beginning, 0, random),
      B: begun(site, 'poly_lora_B', beginning, 1, zeros),
    })
  },
  linear: (y, x, p, s, context) => routed(y, x, p, s, context),
  fold(W, p, s) {
    const { A, B } = routedLora(p, s)
    return W.add(B.matmul(A).div(s.rank))
  },
  foldBias: (b) => b,
  asLora: routedLora,
}

/** Vectors of each row's task. l: [h, S, out / h] -> [batch, out]. */
const vectors = ({ l, ...p }: Named<Tensor>, s: RoutedSettings, taskIds?: Tensor): Tensor => {
  const mixed = mixtureOf(p, s, taskIds).matmul(l)
  return mixed.transpose([1, 0, 2]).reshape([mixed.shape[1], -1])
}

/** The last linear module of each feed-forward part that makes hidden units: of a gated one that without the activation. */
const hiddenOutputs = (base: Model, sites: readonly Site[]): string[] => {
  const reads = matcher(base.architecture.targets?.hiddenInputs ?? [])
  const hidden = new Set(sites.flatMap(({ name, inputUnits }) => (reads(name) && inputUnits?.group) || []))
  const last = new Map<string, string>()
  for (const { name, outputUnits } of sites)
    if (outputUnits && hidden.has(outputUnits.group)) last.set(outputUnits.group, name)
  return [...last.values()]
}

const scalings: Inventory = {
  sides: ['out'],
  untouched: { key: 'poly_ia3_l', value: 1 },
  targets(base) {
    const sites = sitesOf(base, ['linear'])
    const makesKeys = matcher(base.architecture.targets?.keysAndValues ?? [])
    const names = sites.map(({ name }) => name).filter(makesKeys)
    return [...new Set([...names, ...hiddenOutputs(base, sites)])]
  },
  skills: (site, { splits, skills }, beginning) => ({
    l: {
      key: 'poly_ia3_l',
      shape: [splits, skills, site.out / splits],
      initial: begun(site, 'poly_ia3_l', beginning, 0, ones),
    },
  }),
  linear(y, _x, p, s, { input }) {
    const l = vectors(p, s, input('taskIds'))
    const width = y.shape[y.rank - 1]
    return y.reshape([y.shape[0], -1, width]).mul(l.unsqueeze(1)).reshape(y.shape)
  },
  fold: (W, p, s) => W.mul(vectors(p, s).t()),
  foldBias: (b, p, s) => b.mul(vectors(p, s).reshape([-1])),
  asLora() {
    throw new UsageError('NoLora', 'mhr: skills that scale outputs (ia3) have no LoRA that does the same', {
      hint: 'Fold it into the base instead.',
    })
  },
}

/** Inventories by the kind of their skills. */
export const inventories: Readonly<Record<SkillKind, Inventory>> = { lora: factors, ia3: scalings }
