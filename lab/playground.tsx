/** @file A checkpoint, a prompt, and the tokens as they come, with their probabilities; and what is in its tensors. */
import type { JSX } from 'preact'
import { useRef, useState } from 'preact/hooks'
import type { CheckpointEntry, CheckpointList, GenerateEvents, GenerateRequest } from '../src/lab/api.js'
import { bytes, count } from './format.js'
import { stream } from './http.js'
import { Empty, Failure } from './parts.js'
import { Tensors } from './tensors.js'

type Token = GenerateEvents['token']

const percent = (p: number): string => `${(100 * p).toFixed(p < 0.1 ? 1 : 0)} %`

/** The generated text; each token opens to what else it could have been. */
const Text = ({ prompt, tokens }: { prompt: string; tokens: readonly Token[] }): JSX.Element => {
  const [open, setOpen] = useState<number>()
  const token = open === undefined ? undefined : tokens[open]
  return (
    <>
      <div class="generated" aria-live="off">
        <span class="muted">{prompt}</span>
        {tokens.map(({ text, probability }, i) => (
          <button
            key={i}
            class="token"
            data-likely={Math.min(4, Math.floor(probability * 5))}
            aria-expanded={open === i}
            title={percent(probability)}
            onClick={() => setOpen(open === i ? undefined : i)}
          >
            {text}
          </button>
        ))}
      </div>
      {token && (
        <table class="alternatives">
          <caption>
            “{token.text}” had {percent(token.probability)}; the likeliest were
          </caption>
          <tbody>
            {token.alternatives.map(({ id, text, probability }) => (
              <tr key={id}>
                <th scope="row">
                  <code>{JSON.stringify(text)}</code>
                </th>
                <td>
                  <meter min={0} max={1} value={probability} aria-label={`Probability of ${text}`} />
                </td>
                <td>{percent(probability)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </>
  )
}

const Field = ({
  label,
  ...input
}: { label: string } & JSX.InputHTMLAttributes<HTMLInputElement>): JSX.Element => (
  <label class="choice">
    {label}
    <input {...input} />
  </label>
)

const isAdapterOf = (entry: CheckpointEntry, base: string): boolean =>
  entry.kind === 'adapter' && entry.base?.id === base

export const Playground = ({ data: { checkpoints, roots } }: { data: CheckpointList }): JSX.Element => {
  const models = checkpoints.filter(({ kind, generates }) => kind === 'model' && generates)
  const [checkpoint, setCheckpoint] = useState(models[0]?.id)
  const [tokens, setTokens] = useState<readonly Token[]>([])
  const [shown, setShown] = useState('')
  const [state, setState] = useState<{ busy: boolean; done?: GenerateEvents['done']; error?: unknown }>({
    busy: false,
  })
  const stop = useRef<AbortController>()
  if (models.length === 0)
    return (
      <>
        <h1>Playground</h1>
        <Empty>
          No model that generates text lies under {roots.join(' or ') || 'the runs'}. <code>npm start</code>{' '}
          makes one.
        </Empty>
      </>
    )
  const generate = async (form: HTMLFormElement): Promise<void> => {
    const field = (name: string): string => String(new FormData(form).get(name) ?? '')
    const request: GenerateRequest = {
      checkpoint: checkpoint!,
      adapter: field('adapter') || undefined,
      prompt: field('prompt'),
      maxTokens: Number(field('maxTokens')),
      temperature: Number(field('temperature')),
      topP: Number(field('topP')),
      seed: Number(field('seed')),
    }
    stop.current = new AbortController()
    setTokens([])
    setShown(request.prompt)
    setState({ busy: true })
    const handlers = {
      token: (token: Token) => setTokens((before) => [...before, token]),
      done: (done: GenerateEvents['done']) => setState({ busy: false, done }),
      error: ({ message, hint }: GenerateEvents['error']) =>
        setState({ busy: false, error: hint ? `${message} ${hint}` : message }),
    }
    await stream<GenerateEvents>('/api/generate', request, handlers, stop.current.signal).catch(
      (error: unknown) => {
        if (!stop.current?.signal.aborted) setState({ busy: false, error })
      },
    )
    setState((now) => ({ ...now, busy: false }))
  }
  const adapters = checkpoints.filter((entry) => isAdapterOf(entry, checkpoint ?? ''))
  return (
    <>
      <h1>Playground</h1>
      <form
        class="playground"
        onSubmit={(e) => {
          e.preventDefault()
          void generate(e.currentTarget)
        }}
      >
        <div class="fields">
          <label class="choice">
            Model
            <select
              name="checkpoint"
              value={checkpoint}
              onChange={(e) => setCheckpoint(e.currentTarget.value)}
            >
              {models.map(({ id, name, type, bytes: size }) => (
                <option key={id} value={id}>
                  {name} ({type}, {bytes(size)})
                </option>
              ))}
            </select>
          </label>
          <label class="choice">
            Adapter
            <select name="adapter" key={checkpoint}>
              <option value="">none</option>
              {adapters.map(({ id, name, type }) => (
                <option key={id} value={id}>
                  {name} ({type})
                </option>
              ))}
            </select>
          </label>
          <Field label="Tokens" name="maxTokens" type="number" min={1} max={1024} defaultValue={64} />
          <Field
            label="Temperature"
            name="temperature"
            type="number"
            min={0}
            max={5}
            step={0.1}
            defaultValue={0.8}
          />
          <Field label="Top p" name="topP" type="number" min={0.01} max={1} step={0.01} defaultValue={0.95} />
          <Field label="Seed" name="seed" type="number" min={0} step={1} defaultValue={0} />
        </div>
        <label for="prompt">Prompt</label>
        <textarea id="prompt" name="prompt" rows={3} required maxLength={20000}>
          Mia has a
        </textarea>
        <p class="buttons">
          <button class="main" disabled={state.busy}>
            Generate
          </button>
          <button type="button" disabled={!state.busy} onClick={() => stop.current?.abort()}>
            Stop
          </button>
        </p>
      </form>
      {(tokens.length > 0 || state.busy) && <Text prompt={shown} tokens={tokens} />}
      <p class="muted" role="status">
        {state.busy && 'Generating …'}
        {state.done &&
          `${count(state.done.tokens, 'token')} in ${state.done.seconds.toFixed(1)} s. A token opens to what else it could have been; the darker, the surer.`}
      </p>
      {state.error !== undefined && <Failure error={state.error} />}
      {checkpoint && <Tensors checkpoint={checkpoint} key={checkpoint} />}
    </>
  )
}
