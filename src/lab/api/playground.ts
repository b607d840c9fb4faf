/** @file Checkpoints, their tensors and what they write, as the lab's JSON has them. */
import type { ErrorBody } from './lab.js'

export interface CheckpointEntry {
  /** What requests name it by: its path below its root, after the root's name. */
  id: string
  name: string
  kind: 'model' | 'adapter'
  /** `model_type` or `peft_type`. */
  type: string | null
  bytes: number
  /** For an adapter: the base as its config names it, and which listed checkpoint that is. */
  base: { name: string; id: string | null } | null
  /** Whether it generates text. */
  generates: boolean
}

export interface CheckpointList {
  /** The configured folders. */
  roots: string[]
  checkpoints: CheckpointEntry[]
}

export interface TensorRow {
  name: string
  dtype: string
  shape: number[]
  bytes: number
}

export interface TensorList {
  checkpoint: string
  tensors: TensorRow[]
}

export interface TensorStatistics extends TensorRow {
  count: number
  least: number | null
  greatest: number | null
  mean: number | null
  deviation: number | null
  zeros: number
  /** NaN or infinite elements, outside every other statistic. */
  notFinite: number
  /** `edges` has one more element than `counts`. */
  histogram: { edges: number[]; counts: number[] }
  /** Of the matrix [first axis, the rest], largest first; null with the reason where there are none. */
  singularValues: number[] | null
  singularNote: string | null
}

export interface GenerateRequest {
  checkpoint: string
  /** An adapter's id. */
  adapter?: string
  prompt: string
  /** 1 to 1,024; default 64. */
  maxTokens?: number
  /** 0: the likeliest token. Default 0.8. */
  temperature?: number
  /** Default 0.95. */
  topP?: number
  seed?: number
}

export interface GenerateEvents {
  /** `alternatives`: the likeliest tokens before sampling, itself among them or not. */
  token: {
    id: number
    text: string
    probability: number
    alternatives: { id: number; text: string; probability: number }[]
  }
  done: { tokens: number; seconds: number; reason: 'length' | 'stop' }
  error: ErrorBody['error']
}
