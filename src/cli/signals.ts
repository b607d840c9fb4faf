/** @file Ctrl-C and SIGTERM, as an AbortSignal. */

/**
 * A signal that aborts at the first SIGINT or SIGTERM, with its name as the reason. That also restores the system's
 * own handling, so a second one ends the process at once, even while native code holds the thread.
 */
export const abortOnSignals = (): AbortSignal => {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => controller.abort(name))
  return controller.signal
}
