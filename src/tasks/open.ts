/** @file Data for a model: the task follows from the model, files are opened, gone through once and held apart. Node only. */
import type { Checkpoint, JsonObject } from '../checkpoint/index.js'
import { columnsOf, type ColumnMap, mappedRows } from '../data/columns.js'
import { type Dataset, splitNumbers, subset } from '../data/dataset.js'
import { growing } from '../data/growing.js'
import { joined, tableRows } from '../data/table.js'
import { type DataPlace, findData } from '../data/where.js'
import { CheckpointError, nearest, UsageError } from '../errors.js'
import { architectureFor, isHeadTask, type Task, withHeadFor } from '../models/index.js'
import type { OnProgress } from '../progress.js'
import { type DataRecord, openTokenizer, toExample, type Tokenizer } from '../text/index.js'
import { toRecord } from '../text/records.js'
import { type Data, rowLength } from '../train/index.js'
import { formatOf, type TaskName, taskNames } from './formats.js'
import type { TaskOptions } from './options.js'
import { taskSource } from './source.js'
import type { TaskFormat } from './task.js'

/** Data of a run. */
export interface OpenTaskOptions extends TaskOptions {
  /** File, folder, pattern or dataset of the hub to learn from. */
  readonly data: string
  /** Data to evaluate on. */
  readonly evalData?: string
  /** Share of the data to hold out for evaluation. */
  readonly evalSplit?: number
  /** Seed of what is held out. Default 0. */
  readonly seed?: number | string
  /** Rows in a batch. Default 8. */
  readonly batch?: number
  /** Longest row in tokens. Default 512, or the model's own limit where that is less. */
  readonly length?: number
  /** Whether a model without a head for the task gets a new one. Default false: that is refused. */
  readonly newHead?: boolean
  /** Whether causal documents are laid end to end. Default false. */
  readonly packing?: boolean
  /** Steps of the run; where they are not given, the tokens of packed rows are counted in the same pass. */
  readonly steps?: number
  /** Default: that of the model's folder. */
  readonly tokenizer?: Tokenizer
  /** Looks at each record of text as it is checked. */
  readonly onRecord?: (record: DataRecord) => void
  /** Listener for progress over the records that are checked. */
  readonly onProgress?: OnProgress
  /** Receives what is to be said of the data. */
  readonly onWarning?: (message: string) => void
  /** Signal that stops it between two records. */
  readonly signal?: AbortSignal
}

/** Data of a run, gone through once. */
export interface OpenedTask {
  readonly task: TaskName
  readonly data: Data
  readonly held?: Data
  /** Number of records that are learned from. */
  readonly records: number
  /** Tokens of these records; known where they are packed. */
  readonly tokens?: number
  /** Config.json with the names of classes that the data brought; absent where it stays as it is. */
  readonly config?: JsonObject
  /** Whether `config` describes a new head, with the classes of the data. */
  readonly newHead: boolean
}

/** Tasks of models whose heads may make way for new ones: nobody trained them for what is wanted. */
const bodies: readonly Task[] = ['causal', 'masked', 'features']

/** The task that a run is for, and whether that takes a new head. */
export interface ChosenTask {
  readonly task: TaskName
  readonly newHead: boolean
}

/**
 * The task of a model: what its head is for; or `wanted`, for which a new head is made where `mayReplace` says so and the model
 * has none. Throws UsageError where another task is wanted, or where there are no data for it.
 */
export const taskOf = (
  { folder, config }: Pick<Checkpoint, 'folder' | 'config'>,
  wanted?: TaskName,
  mayReplace = false,
): ChosenTask => {
  const architecture = architectureFor(config)
  const task: Task = architecture.task(architecture.readConfig(config))
  if (mayReplace && wanted !== undefined && wanted !== task && isHeadTask(wanted) && bodies.includes(task)) {
    withHeadFor(config, wanted, ['0', '1'])
    return { task: wanted, newHead: true }
  }
  const known = taskNames.find((name) => name === task)
  if (known === undefined)
    throw new UsageError(
      'WrongTask',
      `${folder}: ${architecture.name} is for '${task}', for which no data are read`,
      {
        hint: `Data are read for: ${taskNames.join(', ')}.`,
      },
    )
  if (wanted !== undefined && wanted !== known)
    throw new UsageError(
      'WrongTask',
      `${folder}: ${architecture.name} is a model for the task '${task}', not for '${wanted}'`,
      { hint: `Take data for '${task}', or a model with a head for '${wanted}'.` },
    )
  return { task: known, newHead: false }
}

/** Fields of records of text. */
const recordFields = [
  ...['messages', 'tools', 'choices', 'question', 'answer', 'prompt', 'completion', 'text', 'task'],
  ...['conversations', 'system', 'instruction', 'input', 'output', 'history'],
]

const causal: TaskFormat<DataRecord> = {
  fields: recordFields,
  text: 'text',
  label: 'completion',
  reading: () => toRecord,
  batch: () => Promise.reject(new Error('batches of records of text are made by training')),
}

/** A column and the field that it holds, as the option `flag` says it. */
interface NamedColumn {
  readonly flag: string
  readonly column: string
  readonly field: string
}

/** Throws UsageError for a field that the task has not, for a column that is named twice, and for two columns of one field. */
const requireOnce = (named: readonly NamedColumn[], task: TaskName, fields: readonly string[]): void => {
  named.forEach(({ flag, column, field }, i) => {
    if (!fields.includes(field))
      throw new UsageError('BadUsage', `${flag}: data for the task '${task}' have no field "${field}"`, {
        hint: `Nearest: ${nearest(field, fields, 1)[0]}. They have: ${fields.join(', ')}.`,
      })
    const before = named.slice(0, i).find((other) => other.column === column || other.field === field)
    if (before?.column === column)
      throw new UsageError('BadUsage', `${flag} and ${before.flag}: both name the column "${column}"`)
    if (before) throw new UsageError('BadUsage', `${flag} and ${before.flag}: both say what "${field}" is`)
  })
}

/**
 * The field that each column holds. Throws UsageError for a column of a kind that the task has not, and for one that is said
 * twice.
 */
const columnMap = (
  task: TaskName,
  { text, label, fields }: TaskFormat<unknown>,
  options: TaskOptions,
): ColumnMap => {
  const { textColumn, labelColumn, map = {} } = options
  const named = (flag: string, column: string | undefined, field: string | undefined): NamedColumn[] => {
    if (column === undefined) return []
    if (field !== undefined) return [{ flag, column, field }]
    throw new UsageError('UnwantedOption', `${flag}: data for the task '${task}' have no such column`)
  }
  // A causal completion follows a prompt.
  const before = task === 'causal' && labelColumn !== undefined ? 'prompt' : text
  const all = [
    ...Object.entries(map).map(([column, field]) => ({ flag: `--map ${column}=${field}`, column, field })),
    ...named('--text-column', textColumn, before),
    ...named('--label-column', labelColumn, label),
  ]
  requireOnce(all, task, fields)
  return Object.fromEntries(all.map(({ column, field }) => [column, field]))
}

const folderOf = (file: string): string => (/[\\/]/.test(file) ? file.replace(/[\\/][^\\/]*$/, '') : '.')

const datasetAt = async <R>(
  where: string,
  task: TaskName,
  format: TaskFormat<R>,
  options: TaskOptions,
): Promise<Dataset<R>> => {
  const map = columnMap(task, format, options)
  const place: DataPlace = await findData(where)
  if (place.kind === 'images') {
    if (format.images) return format.images(place.folder)
    throw new UsageError(
      'WrongTask',
      `${where}: a folder without files of rows; the model is for the task '${task}'`,
      {
        hint: 'Rows are read from .jsonl, .csv, .tsv and .parquet files; folders of images are for image classifiers.',
      },
    )
  }
  const { skipMalformed } = options
  const columns = columnsOf(map, format.fields)
  const parts = place.files.map((file) =>
    tableRows(file, mappedRows(map, format.reading(folderOf(file))), { skipMalformed, columns }),
  )
  return joined(where, parts)
}

/** What one pass over the records shows. */
interface Survey {
  /** Numbers of the records that are good. */
  readonly numbers: Float64Array
  /** How many rows each of them gives, by its number; of those that it does not name one. */
  readonly parts: ReadonlyMap<number, number>
  /** Tokens of each of them, where they were asked for. */
  readonly tokens: Float64Array
}

const survey = async <R>(
  dataset: Dataset<R>,
  { check, parts: partsOf }: Pick<TaskFormat<R>, 'check' | 'parts'>,
  { onProgress, onWarning, signal }: Pick<OpenTaskOptions, 'onProgress' | 'onWarning' | 'signal'>,
  count?: (record: R) => number,
): Promise<Survey> => {
  const numbers = growing()
  const tokens = growing()
  const parts = new Map<number, number>()
  let done = 0
  for await (const [number, record] of dataset.entries()) {
    await check?.(record)
    numbers.push(number)
    const rows = partsOf ? await partsOf(record) : 1
    if (rows > 1) parts.set(number, rows)
    if (count) tokens.push(count(record))
    if (++done % 1000) continue
    signal?.throwIfAborted()
    onProgress?.({ status: 'progress', name: dataset.name, done, unit: 'records' })
  }
  if (done === 0) throw new CheckpointError('EmptyDataset', `${dataset.name}: it holds no record`)
  const { skipped } = dataset
  if (skipped) onWarning?.(`${dataset.name}: left out ${skipped} malformed of ${done + skipped} rows`)
  return { numbers: numbers.array(), tokens: tokens.array(), parts }
}

/** Records of text from any file of rows, each looked at once. Throws CheckpointError for the first that is none. */
export const openRecords = async (
  where: string,
  options: Omit<OpenTaskOptions, 'data'> = {},
): Promise<Dataset<DataRecord>> => {
  const dataset = await datasetAt(where, 'causal', causal, options)
  const { onRecord } = options
  const check = async (record: DataRecord): Promise<void> => onRecord?.(record)
  const { numbers } = await survey(dataset, { check }, options)
  return dataset.skipped > 0 ? subset(dataset, numbers) : dataset
}

/** Records that are chosen of a dataset, as `Survey` has them. */
interface Chosen extends Pick<Survey, 'parts'> {
  readonly dataset: Dataset<unknown>
  readonly numbers: ArrayLike<number>
}

/** Rows of the chosen records: those that give several stand there as often, each with the number of its `part`. */
const rowsOf = ({ dataset, numbers, parts }: Chosen): Dataset<unknown> => {
  if (parts.size === 0) return subset(dataset, numbers)
  const rows = growing()
  const places = growing()
  for (const number of Array.from(numbers))
    for (let part = 0; part < (parts.get(number) ?? 1); part++) {
      rows.push(number)
      places.push(part)
    }
  const part = places.array()
  const chosen = subset(dataset, rows.array())
  const open: Dataset<unknown>['open'] = async () => {
    const reader = await chosen.open()
    const at = async (i: number) => ({ ...((await reader.at(i)) as object), part: part[i] })
    return { at, close: () => reader.close() }
  }
  return { ...chosen, open }
}

/** Both parts of the data: one dataset divided, or two. */
interface Parts {
  readonly train: Float64Array | Uint32Array
  readonly held?: Chosen
  readonly tokens?: number
}

const divided = (
  dataset: Dataset<unknown>,
  { numbers, tokens, parts }: Survey,
  { evalSplit, seed }: OpenTaskOptions,
): Parts => {
  const sum = (of: ArrayLike<number>): number | undefined =>
    tokens.length > 0 ? Array.from(of).reduce((total, i) => total + tokens[i], 0) : undefined
  const all = Uint32Array.from(numbers, (_, i) => i)
  if (evalSplit === undefined) return { train: numbers, tokens: sum(all) }
  const { train, evaluation } = splitNumbers(dataset.name, numbers.length, evalSplit, seed)
  return {
    train: Float64Array.from(train, (i) => numbers[i]),
    held: { dataset, parts, numbers: Float64Array.from(evaluation, (i) => numbers[i]) },
    tokens: sum(train),
  }
}

/** Throws UsageError for an option that belongs to another task. */
const requireOwn = (task: TaskName, { packing, everyToken, overlap }: OpenTaskOptions): void => {
  const refuse = (flag: string, why: string): never => {
    throw new UsageError('UnwantedOption', `${flag}: ${why}`)
  }
  if (packing && task !== 'causal')
    refuse('--packing', `rows of the task '${task}' cannot be laid end to end`)
  if (everyToken && task !== 'tokens') refuse('--every-token', `data for the task '${task}' have no tags`)
  if (overlap !== undefined && task !== 'answer')
    refuse('--overlap', `texts of the task '${task}' have no windows`)
}

/** Tokens that a record of text gives a packed row. */
const packedTokens =
  (tokenizer: Tokenizer) =>
  (record: unknown): number => {
    const { ids, labels } = toExample(record as DataRecord, tokenizer)
    return labels.some((label, i) => i > 0 && label !== -100) ? ids.length : 0
  }

/**
 * The data that `options` name, for the model in `checkpoint`: its task says what rows must hold, and what is measured.
 * Everything is gone through once, which checks each record, leaves the index by which they are picked, and counts tokens
 * where packed rows need it; nothing is held. Throws UsageError for a task that the model is not for, and for options that the
 * task has not; CheckpointError, naming file and row, for a column that is not there, a label beyond the model's classes,
 * what is no record or image, and for data without any.
 */
export const openTask = async (
  checkpoint: Pick<Checkpoint, 'folder' | 'config'>,
  options: OpenTaskOptions,
): Promise<OpenedTask> => {
  const { folder, config } = checkpoint
  const { data: where, evalData, batch = 8, packing = false } = options
  const { task, newHead } = taskOf(checkpoint, options.task, options.newHead)
  requireOwn(task, options)
  const architecture = architectureFor(config)
  const headed = newHead && isHeadTask(task) ? withHeadFor(config, task, ['LABEL_0', 'LABEL_1']) : config
  const own = { architecture, config: architecture.readConfig(headed) }
  let opened: Promise<Tokenizer> | undefined
  const tokenizer = async (): Promise<Tokenizer> => options.tokenizer ?? (opened ??= openTokenizer(folder))
  const length = rowLength(own, options.length)
  const format =
    task === 'causal'
      ? (causal as TaskFormat<unknown>)
      : formatOf(task, {
          ...{ folder, config: headed, fresh: newHead, tokenizer, length },
          ...{ multiple: Math.min(64, length), everyToken: options.everyToken, overlap: options.overlap },
        })
  const count = packing && options.steps === undefined ? packedTokens(await tokenizer()) : undefined
  const dataset = await datasetAt(where, task, format, options)
  const surveyed = await survey(dataset, format, options, count)
  const { train, held: apart, tokens } = divided(dataset, surveyed, options)
  const heldData = evalData === undefined ? undefined : await datasetAt(evalData, task, format, options)
  const held = heldData ? { dataset: heldData, ...(await survey(heldData, format, options)) } : apart
  const dataOf = async (chosen: Chosen): Promise<Data> => {
    const rows = rowsOf(chosen)
    if (task === 'causal') return rows as Dataset<DataRecord>
    return taskSource(rows, await rows.size(), format, batch)
  }
  return {
    task,
    data: await dataOf({ dataset, numbers: train, parts: surveyed.parts }),
    held: held && (await dataOf(held)),
    records: train.length,
    tokens,
    config: format.settled?.(),
    newHead,
  }
}
