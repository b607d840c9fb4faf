/** @file The head of an adapter's base: its class and classes lie beside the adapter, since a new head is in no base's folder. */
import type { Adapter, Checkpoint } from '../../checkpoint/index.js'
import { isJsonObject, type JsonObject, parseJson } from '../../checkpoint/web.js'
import { CheckpointError } from '../../errors.js'
import {
  architectureFor,
  type HeadTask,
  isHeadTask,
  type Model,
  withNewHead,
  withHeadFor,
} from '../../models/index.js'
import { classifiers } from './plan.js'

const metadataKey = 'weft_head'

/** Keys of config.json that say what a head is for. */
const headKeys = ['architectures', 'id2label', 'label2id']

/** The modules of `base` that are trained whole where the tensors `fresh` of its head are new: no folder but the adapter's has them. */
export const headModules = (base: Model, fresh: readonly string[]): string[] => {
  const known = classifiers(base)
  const isWithin = (name: string): boolean => known.some((module) => name.startsWith(`${module}.`))
  const others = fresh.filter((name) => !isWithin(name)).map((name) => name.replace(/\.[^.]+$/, ''))
  return [...new Set([...known, ...others])]
}

/** What an adapter's file says of its base's head, where that tells classes apart. */
export const headMetadata = ({ architecture, config, checkpoint }: Model): Record<string, string> => {
  if (!isHeadTask(architecture.task(config))) return {}
  const said = headKeys.flatMap((key) => (key in checkpoint.config ? [[key, checkpoint.config[key]]] : []))
  return { [metadataKey]: JSON.stringify(Object.fromEntries(said)) }
}

/** The tasks that PEFT names. */
const taskTypes: Readonly<Record<string, HeadTask>> = {
  SEQ_CLS: 'classify',
  TOKEN_CLS: 'tokens',
  QUESTION_ANS: 'answer',
}

/** The end of the name of the matrix that a head ends with: a row for each class. */
const lastOfHead = /(^|\.)(score|classifier|classifier\.out_proj|qa_outputs)\.(modules_to_save\.)?weight$/

/** The head that an adapter of PEFT's trained on a body, by its task and its tensors; undefined where the base has it. */
const headOfPeft = (base: JsonObject, { config, tensors }: Adapter): JsonObject | undefined => {
  const task = Object.entries(taskTypes).find(([type]) => type === config.task_type)?.[1]
  const architecture = architectureFor(base)
  if (task === undefined || architecture.task(architecture.readConfig(base)) === task) return undefined
  const last = tensors.names().find((name) => lastOfHead.test(name))
  const count = last === undefined ? 0 : (tensors.info(last).shape[0] ?? 0)
  if (count === 0) return undefined
  return withHeadFor(
    base,
    task,
    Array.from({ length: count }, (_, i) => `LABEL_${i}`),
  )
}

const headIn = (base: JsonObject, adapter: Adapter): JsonObject | undefined => {
  const text = adapter.tensors.metadata[metadataKey]
  if (text === undefined) return headOfPeft(base, adapter)
  const head = parseJson(text, `${adapter.folder}: ${metadataKey}`)
  if (isJsonObject(head)) return { ...base, ...head }
  throw new CheckpointError('InvalidAdapter', `${adapter.folder}: ${metadataKey} is no JSON object`)
}

/**
 * `base` with the head that `adapter` was trained with: its classes called as there; and where the base has another head, a new
 * one in its place, whose values are the adapter's. Throws CheckpointError for a head that the architecture has not.
 */
export const withSavedHead = async (base: Checkpoint, adapter: Adapter): Promise<Checkpoint> => {
  const config = headIn(base.config, adapter)
  if (!config) return base
  const classOf = ({ architectures }: JsonObject): string => JSON.stringify(architectures)
  if (classOf(config) === classOf(base.config)) return base.withConfig(config)
  return (await withNewHead(base, config)).checkpoint
}
