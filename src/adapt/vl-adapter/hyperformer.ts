/**
 * @file Adapters that a network makes (Hyperformer, Karimi Mahabadi et al. 2021, arXiv 2106.04489): of an embedding of the task
 * and one of the place it projects z, and of z the matrices of the adapter at that place for that task. Tasks and places
 * share all but their embeddings.
 */
import { UsageError } from '../../errors.js'
import { relu, type Tensor } from '../../tensor/index.js'
import type { BottleneckSettings } from '../core/bottleneck.js'
import { type FreeInitial, kaimingUniform, normalWith, standardNormal, zeros } from '../core/initial.js'
import type { Site } from '../../models/sites.js'
import type { Named, ParameterSpec, SharedSpec } from '../core/spec.js'

/** Widths of embeddings, and of z. */
const [embedding, projected] = [16, 8]

/** The matrices of the adapters of rows: D: [rows, in, b], d: [rows, 1, b], U: [rows, b, out], u: [rows, 1, out]. */
export type RowMatrices = Readonly<Record<'D' | 'd' | 'U' | 'u', Tensor>>

/** Of each place: its embedding. */
export const placeSpecs = (): Named<ParameterSpec> => ({
  place: { key: 'hyper_place', shape: [embedding], initial: standardNormal },
})

/** Of all places. Throws UsageError where they are not equally wide: one network makes the adapters of all. */
export const hyperSpecs = (
  { tasks, official }: { readonly tasks: number; readonly official: boolean },
  sizes: readonly Pick<BottleneckSettings, 'in' | 'out' | 'bottleneck'>[],
  sites: readonly Site[],
): Named<SharedSpec> => {
  const [{ in: width, out, bottleneck: b }] = sizes
  const other = sizes.findIndex((s) => s.in !== width || s.out !== out || s.bottleneck !== b)
  if (other >= 0)
    throw new UsageError(
      'UnequalPlaces',
      `vl-adapter: a hyper-network makes adapters of one size; ${sites[other].name} is not as wide as ${sites[0].name}`,
      { hint: 'Name equally wide modules (targets), or share otherwise (sharing).' },
    )
  const spec = (name: string, shape: readonly number[], initial: FreeInitial): SharedSpec => ({
    key: `hyper_${name}`,
    shape,
    initial,
    frozen: false,
  })
  const deviation = (inputs: number): FreeInitial => normalWith((inputs * projected) ** -0.5)
  return {
    tasks: spec('tasks', [tasks, embedding], standardNormal),
    ofTask: spec('of_task', [2 * projected, embedding], kaimingUniform),
    ofPlace: spec('of_place', [2 * projected, embedding], kaimingUniform),
    project: spec('project', [projected, 2 * projected], kaimingUniform),
    makeD: spec('down', [projected, width * b], deviation(width)),
    makedBias: spec('down_bias', [projected, b], zeros),
    makeU: spec('up', [projected, b * out], official ? deviation(b) : zeros),
    makeuBias: spec('up_bias', [projected, out], zeros),
  }
}

/** What the network makes for the tasks `ids`: [rows] at the place of `p`. */
export const hyperMatrices = (
  p: Named<Tensor>,
  { in: width, out, bottleneck: b }: BottleneckSettings,
  ids: Tensor,
): RowMatrices => {
  const task = p.tasks.gather(ids, 0).matmul(p.ofTask.t())
  const place = p.place.unsqueeze(0).matmul(p.ofPlace.t())
  const z = relu(task.add(place)).matmul(p.project.t())
  const made = (matrix: Tensor, rows: number, columns: number): Tensor =>
    z.matmul(matrix).reshape([-1, rows, columns])
  return {
    D: made(p.makeD, width, b),
    d: made(p.makedBias, 1, b),
    U: made(p.makeU, b, out),
    u: made(p.makeuBias, 1, out),
  }
}
