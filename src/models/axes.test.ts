import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { goldenFolder } from '../../test/golden.js'
import { batchOf, distance, numbersOf } from '../../test/golden-case.js'
import { type Checkpoint, open } from '../checkpoint/index.js'
import { compile, toNumbers, type Value, valueOf } from '../tensor/index.js'
import { type Model, openModel, runsAlong, type UnitRun, type WeightSpec } from './index.js'

/** The elements of an axis when its units stand in the order `units`, run by run. */
const orderOf = (runs: readonly UnitRun[], units: readonly number[]): number[] =>
  runs.flatMap(({ offset, unit }) =>
    units.flatMap((u) => Array.from({ length: unit }, (_, i) => offset + u * unit + i)),
  )

const takenAlong = (v: Value, axis: number, order: readonly number[]): Value => {
  const inner = v.shape.slice(axis + 1).reduce((a, b) => a * b, 1)
  const n = v.shape[axis]
  const from = toNumbers(v)
  return valueOf(
    from.map(
      (_, i) =>
        from[(Math.floor(i / (inner * n)) * n + order[Math.floor(i / inner) % n]) * inner + (i % inner)],
    ),
    v.shape,
  )
}

const rotation = (n: number): number[] => Array.from({ length: n }, (_, i) => (i + 1) % n)

/** The parameters and buffers with the units of `group` in another order, in every tensor that has it. */
const permuted = (
  tensors: Readonly<Record<string, Value>>,
  table: readonly WeightSpec[],
  group: string,
): Record<string, Value> => {
  const all = { ...tensors }
  let units: readonly number[] | undefined
  for (const spec of table) {
    const { name, axes, tied } = spec
    if (tied !== undefined) continue
    for (const [axis, along] of axes.entries()) {
      if (along?.group !== group) continue
      const runs = runsAlong(spec, axis)
      units ??= rotation(runs[0].units)
      for (const run of runs) expect(run.units, `${name}, axis ${axis}`).toBe(units.length)
      all[name] = takenAlong(all[name], axis, orderOf(runs, units))
    }
  }
  return all
}

const cases = [
  ...['llama', 'qwen3', 'mixtral', 'phi3', 'olmo2', 'gpt2'],
  ...['bert-mlm', 'bert-classify', 't5', 'vit', 'resnet'],
]

describe.each(cases)('the axis groups of %s', (name) => {
  let checkpoint: Checkpoint
  let model: Model
  let tensors: Record<string, Value>
  let logitsOf: (all: Record<string, Value>) => Promise<Float64Array>

  beforeAll(async () => {
    checkpoint = await open(goldenFolder(name))
    await using golden = await open(goldenFolder(name, 'golden.safetensors'))
    model = await openModel(checkpoint, { trainable: true })
    const { inputs } = await batchOf(golden, model.architecture.task(model.config), checkpoint.config)
    tensors = { ...model.parameters }
    for (const { name, kind } of model.architecture.table(model.config))
      if (kind === 'buffer') tensors[name] = await checkpoint.read(name, 'float32')
    const program = await compile(
      ({ all, inputs }) => model.architecture.forward(model.weights(all, {}), inputs, model.config).logits,
      { all: tensors, inputs: inputs as Record<string, Value> },
    )
    logitsOf = async (all) => numbersOf(await program.run({ all, inputs: inputs as Record<string, Value> }))
  })
  afterAll(() => checkpoint.close())

  it('may be put in another order together, and the logits stay', async () => {
    const table = model.architecture.table(model.config)
    const groups = new Set(table.flatMap(({ axes }) => axes.flatMap((a) => (a ? [a.group] : []))))
    expect(groups.size).toBeGreaterThan(1)
    const logits = await logitsOf(tensors)
    for (const group of groups) {
      const other = permuted(tensors, table, group)
      expect(other).not.toEqual(tensors)
      expect(distance(await logitsOf(other), logits), group).toBeLessThan(2e-5)
    }
  })
})
