/** @file Small things that several pages show: states, waiting, failures. */
import type { ComponentChildren, JSX } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import type { ClaimState, JobStatus, PaperState, RunStatus } from '../src/lab/api.js'
import { verdictWords } from '../src/papers/words.js'

export const stateWords: Record<PaperState, string> = {
  planned: 'planned',
  unmeasured: 'not measured yet',
  works: 'works',
  short: 'falls short',
  baseline: 'baseline',
  listed: 'listed',
}

export const claimWords: Record<ClaimState, string> = { ...verdictWords, unmeasured: 'not measured yet' }

/** A state as a coloured word; colour never says it alone. */
export const State = ({
  of,
  children,
}: {
  of: PaperState | ClaimState | RunStatus | JobStatus
  children?: ComponentChildren
}): JSX.Element => (
  <span class="state" data-state={of}>
    {children ?? of}
  </span>
)

export const Empty = ({ children }: { children: ComponentChildren }): JSX.Element => (
  <p class="empty">{children}</p>
)

export const Failure = ({ error }: { error: unknown }): JSX.Element => (
  <p class="failure" role="alert">
    {error instanceof Error ? error.message : String(error)}
  </p>
)

export const Waiting = ({ what }: { what: string }): JSX.Element => (
  <p class="loading" role="status">
    Loading {what} …
  </p>
)

/** The value of `load`, reloaded when `key` changes; what came before stays until then. */
export const useLoaded = <T,>(
  key: string,
  load: (signal: AbortSignal) => Promise<T>,
  first?: T,
): { value?: T; error?: unknown; busy: boolean } => {
  const [state, setState] = useState<{ key: string; value?: T; error?: unknown }>({
    key: first === undefined ? '' : key,
    value: first,
  })
  useEffect(() => {
    if (state.key === key) return
    const stop = new AbortController()
    load(stop.signal).then(
      (value) => setState({ key, value }),
      (error: unknown) => {
        if (!stop.signal.aborted) setState({ key, value: state.value, error })
      },
    )
    return () => stop.abort()
  }, [key])
  return { value: state.value, error: state.error, busy: state.key !== key }
}

/** `value`, but only once it has stood still for `milliseconds`. */
export const useSettled = <T,>(value: T, milliseconds: number): T => {
  const [settled, setSettled] = useState(value)
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), milliseconds)
    return () => clearTimeout(timer)
  }, [value, milliseconds])
  return settled
}
