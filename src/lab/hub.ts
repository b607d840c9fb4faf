/** @file Who is told when something changes: pages that watch, the digest, the list of papers. */
import type { LabEvents } from './api.js'

/** One event of the lab. */
export type LabEvent = { [K in keyof LabEvents]: { type: K; data: LabEvents[K] } }[keyof LabEvents]

/** Tells every listener, at once and in order. */
export class Hub {
  private readonly listeners = new Set<(event: LabEvent) => void>()

  emit(event: LabEvent): void {
    for (const listener of this.listeners) listener(event)
  }

  /** Returns what ends the listening. */
  listen(listener: (event: LabEvent) => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }
}
