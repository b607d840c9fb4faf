/**
 * @file What a training run leaves on disk: metrics.jsonl, and checkpoints that are whole or not there. Needs a disk.
 *
 * A checkpoint is `checkpoints/step-N.safetensors` (parameters and optimiser state) and then `step-N.json`, each
 * renamed into place: without its JSON the tensors do not count, so a killed writer leaves the checkpoint before.
 */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  type Checkpoint,
  diskFiles,
  encode,
  formatJson,
  type JsonObject,
  openFile,
  parseJsonObject,
  type TensorData,
  writeFileAtomic,
  writeSafetensors,
} from '../checkpoint/index.js'
import { CheckpointError } from '../errors.js'
import { LineFile } from '../runs/lines.js'
import { value, type Value } from '../tensor/index.js'
import type { TrainingState } from './objective.js'

const checkpointsKept = 2
const checkpointName = /^step-(\d+)\.json$/
const stem = (step: number): string => `step-${step}`

/** Names in the file: `parameters/NAME`, `optimizers/0/NAME/SLOT`. */
const named = ({ parameters, optimizers }: TrainingState): [string, Value][] => [
  ...Object.entries(parameters).map(([name, v]): [string, Value] => [`parameters/${name}`, v]),
  ...optimizers.flatMap((state, i) =>
    Object.entries(state).flatMap(([name, slots]) =>
      Object.entries(slots).map(([slot, v]): [string, Value] => [`optimizers/${i}/${name}/${slot}`, v]),
    ),
  ),
]

const stored = async ([name, v]: [string, Value]): Promise<TensorData> => {
  const host = value(await v.read(), v.shape, v.dtype)
  return { name, ...encode(host) }
}

/** The folder of one run. */
export class RunFolder {
  private readonly checkpoints: string
  private readonly metrics: string
  constructor(readonly folder: string) {
    this.checkpoints = join(folder, 'checkpoints')
    this.metrics = join(folder, 'metrics.jsonl')
  }

  /** The steps of the checkpoints that are whole, newest first. */
  async steps(): Promise<number[]> {
    const files = await readdir(this.checkpoints).catch(() => [])
    return files
      .flatMap((file) => checkpointName.exec(file)?.[1] ?? [])
      .map(Number)
      .sort((a, b) => b - a)
  }

  /** Removes every checkpoint. */
  async clear(): Promise<void> {
    await rm(this.checkpoints, { recursive: true, force: true })
  }

  /** Writes `state` with `position` beside it, and removes all but the newest two. */
  async save(state: TrainingState, position: JsonObject): Promise<void> {
    await mkdir(this.checkpoints, { recursive: true })
    const path = join(this.checkpoints, stem(state.step))
    await writeSafetensors(`${path}.safetensors`, await Promise.all(named(state).map(stored)))
    await writeFileAtomic(`${path}.json`, formatJson({ step: state.step, ...position }))
    await this.prune()
  }

  /** Removes old checkpoints and what killed writers left behind. */
  private async prune(): Promise<void> {
    const kept = (await this.steps()).slice(0, checkpointsKept)
    const files = new Set(kept.flatMap((step) => [`${stem(step)}.json`, `${stem(step)}.safetensors`]))
    const old = (await readdir(this.checkpoints)).filter((file) => !files.has(file))
    // The JSON goes first: without it the tensors count for nothing.
    for (const file of old.sort()) await rm(join(this.checkpoints, file), { force: true })
  }

  /**
   * Puts the newest checkpoint into `state`, whose parameters and slots it must have, and returns what was saved beside
   * it; undefined when there is none. Throws CheckpointError when it does not fit.
   */
  async restore(state: TrainingState): Promise<JsonObject | undefined> {
    const [step] = await this.steps()
    if (step === undefined) return undefined
    const shown = join(this.checkpoints, `${stem(step)}.json`)
    const position = parseJsonObject(await readFile(shown, 'utf8'), shown)
    await using file = await openFile(diskFiles(this.checkpoints), `${stem(step)}.safetensors`)
    await fill(state, file)
    state.step = step
    return position
  }

  /** Appends one line to metrics.jsonl, also where a full disk has left the last one torn. */
  async log(line: Readonly<Record<string, unknown>>): Promise<void> {
    const file = new LineFile(this.metrics)
    try {
      file.append(JSON.stringify(line))
    } finally {
      file.close()
    }
  }

  /** Makes the folder, and removes lines of metrics.jsonl after `step`: a killed run may have been ahead of its checkpoint. */
  async open(step: number): Promise<void> {
    await mkdir(this.folder, { recursive: true })
    const text = await readFile(this.metrics, 'utf8').catch(() => '')
    const kept = step === 0 ? [] : text.split('\n').filter((line) => stepOf(line) <= step)
    await writeFileAtomic(this.metrics, kept.map((line) => `${line}\n`).join(''))
  }
}

/** The step of a line; NaN where a killed writer left half of one. */
const stepOf = (line: string): number => {
  try {
    return Number((JSON.parse(line) as { step?: unknown }).step)
  } catch {
    return NaN
  }
}

/** Replaces every value in `state` by the one in `file`; names, shapes and dtypes must be the same. */
const fill = async (state: TrainingState, file: Checkpoint): Promise<void> => {
  const expected = new Map(named(state))
  const unexpected = file.names().find((name) => !expected.has(name))
  const missing = [...expected.keys()].find((name) => !file.has(name))
  if (unexpected !== undefined || missing !== undefined)
    throw new CheckpointError(
      'ResumeMismatch',
      `${file.folder}: the checkpoint ${missing === undefined ? `has '${unexpected}', which this run has not` : `lacks '${missing}'`}.`,
      { hint: 'Resume with the model, method and optimiser that the run was started with.' },
    )
  const read = async (name: string): Promise<Value> => {
    const [v, old] = [await file.read(name), expected.get(name)!]
    if (v.dtype === old.dtype && String(v.shape) === String(old.shape)) return v
    throw new CheckpointError(
      'ResumeMismatch',
      `${file.folder}: '${name}' is ${v.dtype} [${v.shape}] in the checkpoint, ${old.dtype} [${old.shape}] in this run.`,
    )
  }
  for (const name of Object.keys(state.parameters)) state.parameters[name] = await read(`parameters/${name}`)
  for (const [i, slots] of state.optimizers.entries())
    for (const name of Object.keys(slots)) {
      const restored: Record<string, Value> = {}
      for (const slot of Object.keys(slots[name]))
        restored[slot] = await read(`optimizers/${i}/${name}/${slot}`)
      slots[name] = restored
    }
}
