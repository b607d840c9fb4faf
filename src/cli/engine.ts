/** @file Where a verb computes: `--device` and `--threads`, for everything that it runs. */

/** Values of `common.device` and `common.threads`. */
export interface EngineOptions {
  device?: string
  threads?: number
}

/**
 * Tells the runtime, which reads these variables whenever it opens a session. A device that was asked for by name is tried
 * on a program of one addition: throws EngineError where it is not available.
 */
export const useEngine = async ({ device, threads }: EngineOptions): Promise<void> => {
  if (threads !== undefined) process.env.WEFT_THREADS = String(threads)
  if (device === undefined || device === 'auto') return
  process.env.WEFT_DEVICE = device
  if (device === 'cpu') return
  const { compile, valueOf } = await import('../tensor/index.js')
  const one = valueOf([1], [1])
  const increment = await compile((x) => x.add(1), { shape: one.shape, dtype: one.dtype })
  await increment.run(one)
}

/** The most memory that this process has held, in bytes. */
export const peakMemory = (): number => process.resourceUsage().maxRSS * 1024
