/** @file Every layer of the merged model solved by least squares, one after another as memory allows (step 5 of the method). */
import type { JsonObject } from '../../checkpoint/index.js'
import type { Model, WeightSpec } from '../../models/index.js'
import type { Batches } from '../../observe/index.js'
import type { Value } from '../../tensor/index.js'
import type { Tensors } from '../../units/permutation/index.js'
import type { ProcedureContext } from '../core/procedure.js'
import type { PleasOptions } from './options.js'
import { solveLayer } from './solve.js'
import type { WideAxis } from './split.js'
import { layerSums, type LayerStart } from './sums.js'

/** What came of solving: all tensors, the errors before and after by layer, and the layers with fewer rows than inputs. */
export interface Solved {
  readonly tensors: Readonly<Record<string, Value>>
  readonly layers: Readonly<Record<string, JsonObject>>
  readonly thin: readonly string[]
}

/** Solves every layer of `table`, beginning with the tensors `start`. */
export const solveLayers = async (
  models: readonly [Model, Model],
  table: readonly WeightSpec[],
  wide: ReadonlyMap<string, readonly WideAxis[]>,
  start: Tensors,
  batches: Batches,
  given: PleasOptions,
  { signal, onProgress }: ProcedureContext,
): Promise<Solved> => {
  const layers = table.filter(
    ({ kind, tied }) => tied === undefined && (kind === 'linear' || kind === 'conv'),
  )
  const found: Record<string, JsonObject> = {}
  const tensors: Record<string, Value> = { ...start }
  const thin: string[] = []
  const biasOf = (name: string): string => name.replace(/weight$/, 'bias')
  const startOf = ({ name }: WeightSpec): LayerStart => ({ weight: start[name], bias: start[biasOf(name)] })
  const merging = { wide, startOf, rows: given.rows }
  for await (const sums of layerSums(models, layers, merging, batches, signal)) {
    const { name } = sums.spec
    const { weight, bias, before, after } = await solveLayer(sums, wide.get(name)!, given.ridge)
    tensors[name] = weight
    if (bias) tensors[biasOf(name)] = bias
    if (sums.rows < sums.xx.rows) thin.push(name.replace(/\.weight$/, ''))
    found[name.replace(/\.weight$/, '')] = { before, after, rows: sums.rows }
    const done = Object.keys(found).length
    onProgress?.({ status: 'progress', name: 'least squares', done, total: layers.length, unit: 'layers' })
  }
  return { tensors, layers: found, thin }
}
