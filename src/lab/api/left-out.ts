/** @file What the lab leaves out. Types only. */

/** Something on the disk that the lab could not use, and why. */
export interface LeftOut {
  /** The folder of a run, or a file. */
  path: string
  reason: string
}
