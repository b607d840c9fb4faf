/** @file What the lab and its engine process say to each other. */
import type { GenerateEvents, TensorStatistics } from '../api.js'
import type { Generation } from '../requests.js'

/** Real paths of a model and an adapter on it. */
export interface Place {
  model: string
  adapter?: string
}

export type Order =
  | { type: 'generate'; call: number; place: Place; request: Generation }
  | { type: 'tensor'; call: number; folder: string; name: string }
  | { type: 'embed'; call: number; folder: string; texts: readonly string[] }
  | { type: 'cancel'; call: number }

export type Answer =
  | { type: 'token'; call: number; data: GenerateEvents['token'] }
  | { type: 'done'; call: number; data: GenerateEvents['done'] }
  | { type: 'tensor'; call: number; data: TensorStatistics }
  | { type: 'vectors'; call: number; data: readonly Float32Array[] }
  | { type: 'error'; call: number; data: GenerateEvents['error'] }
