/** @file Feeds, and the daily digest by e-mail. */
import type { JSX } from 'preact'
import { useState } from 'preact/hooks'
import type { LabInfo, SubscribeResult, Topic } from '../src/lab/api.js'
import { post } from './http.js'
import { Failure } from './parts.js'

const topics: readonly { topic: Topic; text: string }[] = [
  { topic: 'papers', text: 'New papers' },
  { topic: 'runs', text: 'Finished runs' },
  { topic: 'claims', text: 'Claims whose verdict has changed' },
]

export const Subscribe = ({ data }: { data: LabInfo }): JSX.Element => {
  const [state, setState] = useState<{ sent?: string; error?: unknown }>({})
  const subscribe = async (form: HTMLFormElement): Promise<void> => {
    const fields = new FormData(form)
    const email = String(fields.get('email'))
    await post<SubscribeResult>('/api/subscribe', { email, topics: fields.getAll('topic') }).then(
      () => setState({ sent: email }),
      (error: unknown) => setState({ error }),
    )
  }
  return (
    <>
      <h1>Subscribe</h1>
      <section aria-labelledby="feeds">
        <h2 id="feeds">Feeds</h2>
        <p>
          New papers as <a href="/feed.atom">Atom</a> or as a <a href="/feed.json">JSON feed</a>. Clients of
          the daily-papers interface can read <code>/api/daily_papers</code>.
        </p>
      </section>
      <section aria-labelledby="mail">
        <h2 id="mail">Daily digest</h2>
        {!data.email ? (
          <p>
            This lab sends no mail. Started with <code>SMTP_URL</code>, it does.
          </p>
        ) : state.sent ? (
          <p role="status">
            A mail is on its way to {state.sent}. Its link confirms the subscription; nothing is sent before.
          </p>
        ) : (
          <form
            class="subscribe"
            onSubmit={(e) => {
              e.preventDefault()
              void subscribe(e.currentTarget)
            }}
          >
            <label class="choice">
              E-mail
              <input name="email" type="email" required maxLength={254} autoComplete="email" />
            </label>
            <fieldset>
              <legend>About</legend>
              {topics.map(({ topic, text }) => (
                <label key={topic}>
                  <input type="checkbox" name="topic" value={topic} checked /> {text}
                </label>
              ))}
            </fieldset>
            <button class="main">Subscribe</button>
          </form>
        )}
        {state.error !== undefined && <Failure error={state.error} />}
      </section>
    </>
  )
}
