/** @file What a long call says while it runs. Libraries emit these; the command line and a page draw them. */

/** One event of a named piece of work: a download, a training run, a fold. */
export interface Progress {
  /** `initiate` before the first byte or step, `progress` within one piece, `progress_total` over all pieces. */
  status: 'initiate' | 'download' | 'progress' | 'progress_total' | 'done' | 'ready'
  /** The file, phase or run that the event is about. */
  name?: string
  /** How much is done, in `unit`. */
  done?: number
  /** How much there is, in `unit`; absent where nobody knows. */
  total?: number
  /** What `done` and `total` count: `bytes`, `steps`, `tensors`, ... */
  unit?: string
  /** Values worth showing beside the bar, by name: loss, tokens/s, ... */
  metrics?: Record<string, number>
}

/** Receives progress. It must not throw, and may be called often: a display drops what it has no time to draw. */
export type OnProgress = (event: Progress) => void
