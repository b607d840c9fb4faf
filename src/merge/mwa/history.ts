/** @file What the logs of a run say about its checkpoints: Hugging Face's trainer_state.json, Weft's metrics.jsonl. */
import { basename, dirname, join, resolve } from 'node:path'
import { diskFiles, exists, isJsonObject, readJson } from '../../checkpoint/index.js'
import { readMetrics, runFiles } from '../../runs/index.js'
import { maxOf, minOf } from '../../tensor/numbers.js'

/** A line of a log. */
interface Row {
  readonly step: number
  readonly loss?: number
  readonly evaluation?: number
}

/** Metrics of one checkpoint. */
export interface CheckpointMetrics {
  /** Optimiser steps done. */
  readonly step?: number
  /** Mean training loss since the checkpoint before. */
  readonly loss?: number
  /** The last evaluation's loss at or before it, and after the checkpoint before. */
  readonly evaluation?: number
  /** File that they were read from. */
  readonly source?: string
}

interface History {
  readonly step?: number
  readonly rows: readonly Row[]
  readonly source?: string
}

const numeric = (x: unknown): number | undefined => (typeof x === 'number' ? x : undefined)

const fromTrainer = async (folder: string): Promise<History> => {
  const { global_step: step, log_history: log } = await readJson(diskFiles(folder), 'trainer_state.json')
  const rows = (Array.isArray(log) ? log : []).filter(isJsonObject).flatMap((row): Row[] => {
    const at = numeric(row.step)
    return at === undefined ? [] : [{ step: at, loss: numeric(row.loss), evaluation: numeric(row.eval_loss) }]
  })
  return { step: numeric(step), rows, source: join(folder, 'trainer_state.json') }
}

const fromMetrics = async (folder: string): Promise<Row[]> => {
  const rows: Row[] = []
  for (let from = 0; ;) {
    const page = await readMetrics(folder, { from })
    for (const { step, values } of page.rows)
      if (step !== undefined) rows.push({ step, loss: values.loss, evaluation: values['evaluation/loss'] })
    if (!page.more || page.next <= from) return rows
    from = page.next
  }
}

/** The number at the end of a folder's name: checkpoint-500, step-500. */
const stepInName = (folder: string): number | undefined => {
  const digits = /(\d+)$/.exec(basename(folder))
  return digits ? Number(digits[1]) : undefined
}

/** The log beside a checkpoint: in its folder, or up to two folders above it. */
const historyOf = async (folderOrCheckpoint: string): Promise<History> => {
  const folder = resolve(folderOrCheckpoint)
  if (await exists(join(folder, 'trainer_state.json'))) return fromTrainer(folder)
  for (const place of [folder, dirname(folder), dirname(dirname(folder))]) {
    if (!(await exists(join(place, runFiles.metrics)))) continue
    const rows = await fromMetrics(place)
    const end = place === folder ? rows.at(-1)?.step : undefined
    return { step: end ?? stepInName(folder), rows, source: join(place, runFiles.metrics) }
  }
  return { step: stepInName(folder), rows: [] }
}

const meanOf = (numbers: readonly number[]): number | undefined =>
  numbers.length ? numbers.reduce((a, b) => a + b) / numbers.length : undefined

/**
 * Metrics of the checkpoints in `folders`, from their logs. A loss is the mean over the steps since the checkpoint before it
 * (of the first: over as many steps as lie between it and the next), because that of a single batch is noise.
 */
export const readCheckpointMetrics = async (folders: readonly string[]): Promise<CheckpointMetrics[]> => {
  const histories = await Promise.all(folders.map(historyOf))
  const steps = histories.flatMap(({ step }) => step ?? [])
  return histories.map(({ step, rows, source }) => {
    if (step === undefined) return { source }
    const before = steps.filter((other) => other < step)
    const after = steps.filter((other) => other > step)
    const start = before.length ? maxOf(before) : after.length ? step - (minOf(after) - step) : -Infinity
    const window = rows.filter((row) => row.step > start && row.step <= step)
    return {
      step,
      loss: meanOf(window.flatMap(({ loss }) => loss ?? [])),
      evaluation: window.flatMap(({ evaluation }) => evaluation ?? []).at(-1),
      source,
    }
  })
}
