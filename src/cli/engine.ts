/** @file Where a verb computes: `--device` and `--threads`, for everything that it runs. */

/** What `common.device` and `common.threads` give. */
export interface EngineOptions {
  device?: string
  threads?: number
}

/** Tells the runtime, which reads these variables whenever it opens a session. */
export const useEngine = ({ device, threads }: EngineOptions): void => {
  if (device !== undefined && device !== 'auto') process.env.WEFT_DEVICE = device
  if (threads !== undefined) process.env.WEFT_THREADS = String(threads)
}

/** The most memory that this process has held, in bytes. */
export const peakMemory = (): number => process.resourceUsage().maxRSS * 1024
