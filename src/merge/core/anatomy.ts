/** @file What a merge did, layer by layer: how far its result lies from each model, and where the models' changes agree. */
import { type Checkpoint, decode } from '../../checkpoint/index.js'
import type { DrawnPlot } from '../../papers/plot.js'
import type { OnProgress } from '../../progress.js'
import { sameShape, sizeOf } from '../../tensor/index.js'
import { underTableNames } from './recipe/table-names.js'

/** Options of `anatomyOf`. */
export interface AnatomyOptions {
  /** Checkpoint that the models started from and their changes are counted from. Without it signs are not compared. */
  readonly base?: Checkpoint
  /** Aborts between two tensors. */
  readonly signal?: AbortSignal
  /** Hears each tensor. */
  readonly onProgress?: OnProgress
}

/** A heat map while it is summed up: of every cell two sums, whose ratio `finish` turns into its value. */
class Cells {
  private readonly rows = new Map<string, Map<string, [number, number]>>()

  add(row: string, column: string, above: number, below: number): void {
    const cells = this.rows.get(row) ?? new Map<string, [number, number]>()
    const [a, b] = cells.get(column) ?? [0, 0]
    this.rows.set(row, cells.set(column, [a + above, b + below]))
  }

  drawn(title: string, x: string, y: string, finish: (ratio: number) => number): DrawnPlot {
    const series = [...this.rows].map(([name, cells]) => ({
      name,
      points: [...cells].flatMap(([column, [above, below]]) =>
        below > 0 ? [{ x: column, y: finish(above / below) }] : [],
      ),
    }))
    const byNumber = (a: { name: string }, b: { name: string }): number =>
      a.name.localeCompare(b.name, 'en', { numeric: true })
    return { kind: 'heatmap', title, x: { label: x }, y: { label: y }, series: series.sort(byNumber) }
  }
}

/** 'model.layers.3.mlp.up_proj.weight' -> layer 'layer 3', part 'up_proj'; what is in no layer is 'outside'. */
export const layerPartOf = (name: string): { readonly layer: string; readonly part: string } => {
  const parts = name.replace(/\.(weight|bias)$/, '').split('.')
  const number = parts.findIndex((part) => /^\d+$/.test(part))
  return { layer: number < 0 ? 'outside' : `layer ${parts[number]}`, part: parts[parts.length - 1] }
}

/** Bytes of a model's block that are in memory at a time. */
const blockBytes = 4 << 20

/** The tensor `name` of all checkpoints as float32 blocks side by side. */
async function* blocks(
  name: string,
  checkpoints: readonly Checkpoint[],
): AsyncGenerator<readonly Float32Array[]> {
  const { shape, length } = checkpoints[0].info(name)
  const rows = shape[0] ?? 1
  const step = Math.max(1, Math.floor((blockBytes * rows) / Math.max(1, length)))
  for (let start = 0; start < rows; start += step) {
    const end = Math.min(rows, start + step)
    const read = checkpoints.map(async (checkpoint) => {
      const bytes = await checkpoint.readRows(name, start, end)
      const { dtype } = checkpoint.info(name)
      return decode(bytes, dtype, [(end - start) * sizeOf(shape.slice(1))], 'float32').data as Float32Array
    })
    yield await Promise.all(read)
  }
}

const squares = (a: Float32Array, b?: Float32Array): number => {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (b ? a[i] - b[i] : a[i]) ** 2
  return sum
}

/**
 * Over the entries that at least two models changed: the sum of |positive - negative| changes, and the number of changes.
 * Their ratio is 1 where all agree and near 0 where half pull one way and half the other.
 */
const agreement = (base: Float32Array, models: readonly Float32Array[]): [number, number] => {
  let net = 0
  let all = 0
  for (let i = 0; i < base.length; i++) {
    let sum = 0
    let changes = 0
    for (const model of models) {
      const sign = Math.sign(model[i] - base[i])
      sum += sign
      changes += Math.abs(sign)
    }
    if (changes < 2) continue
    net += Math.abs(sum)
    all += changes
  }
  return [net, all]
}

/**
 * Heat maps of a merge of `models` that gave `merged`: a layer a row. The distance of each model from the result relative
 * to the result's norm (a column a model); where there is a base, the change that was made to it, relative to its norm
 * (a column a part of the layer), and how far the models' changes agree in sign (1: wholly). Tensors that not all have in
 * one shape are left out. One block of a tensor of each model is in memory at a time.
 */
export const anatomyOf = async (
  merged: Checkpoint,
  models: ReadonlyMap<string, Checkpoint>,
  { base, signal, onProgress }: AnatomyOptions = {},
): Promise<DrawnPlot[]> => {
  const distance = new Cells()
  const change = new Cells()
  const signs = new Cells()
  const all = [merged, ...models.values(), ...(base ? [base] : [])]
  const { views } = underTableNames(new Map(all.map((checkpoint, i) => [String(i), checkpoint])))
  const checkpoints = [...views.values()]
  const shared = checkpoints[0]
    .names()
    .filter((name) =>
      checkpoints.every((c) => c.has(name) && sameShape(c.info(name).shape, checkpoints[0].info(name).shape)),
    )
  const names = [...models.keys()]
  for (const [done, name] of shared.entries()) {
    const { layer, part } = layerPartOf(name)
    for await (const [result, ...others] of blocks(name, checkpoints)) {
      signal?.throwIfAborted()
      const norm = squares(result)
      names.forEach((model, i) => distance.add(layer, model, squares(others[i], result), norm))
      if (!base) continue
      const start = others[names.length]
      change.add(layer, part, squares(result, start), squares(start))
      signs.add(layer, part, ...agreement(start, others.slice(0, names.length)))
    }
    onProgress?.({
      status: 'progress',
      name: 'analyse',
      done: done + 1,
      total: shared.length,
      unit: 'tensors',
    })
  }
  const maps = [distance.drawn('Distance from each model', 'model', 'relative distance', Math.sqrt)]
  if (base)
    maps.push(
      change.drawn('Change of the base', 'part', 'relative change', Math.sqrt),
      signs.drawn('Agreement of the changes in sign', 'part', 'agreement', (ratio) => ratio),
    )
  return maps
}
