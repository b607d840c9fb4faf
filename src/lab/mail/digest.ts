/** @file The daily digest: one mail a day to everyone for whom something has happened. */
import { html } from 'hono/html'
import type { Journal } from '../index/journal.js'
import type { Mail, Mailbox } from './mailbox.js'
import { newsOf } from './news.js'
import type { News, NewsSources } from './news.js'

/** What digests need. */
export interface DigestOptions extends NewsSources {
  journal: Journal
  mailbox?: Mailbox
  url: () => string
  /** Hour of the day, in the lab's time zone, after which the digest is sent. */
  hour: number
  /** Hears of mails that could not be sent. */
  warn?: (text: string) => void
}

const hour = 60 * 60_000

/** The last time that it was `hour` o'clock. */
export const lastDue = (now: Date, at: number): Date => {
  const due = new Date(now)
  due.setHours(at, 0, 0, 0)
  if (due > now) due.setDate(due.getDate() - 1)
  return due
}

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`

const subjectOf = ({ papers, runs, claims }: News): string =>
  [
    papers.length ? plural(papers.length, 'new paper') : '',
    runs.length ? plural(runs.length, 'run') : '',
    claims.length ? plural(claims.length, 'changed claim') : '',
  ]
    .filter(Boolean)
    .join(', ')

/** Sections of a digest: a heading, and lines that each lead somewhere. */
interface Section {
  title: string
  items: { text: string; detail: string; path: string }[]
}

/** First words of a summary. */
const brief = (text: string): string => (text.length <= 300 ? text : `${text.slice(0, 297).trimEnd()}...`)

const sectionsOf = ({ papers, runs, claims }: News): Section[] =>
  [
    {
      title: 'New papers',
      items: papers.slice(0, 50).map(({ id, title, summary }) => ({
        text: title,
        detail: brief(summary),
        path: `/papers/${encodeURIComponent(id)}`,
      })),
    },
    {
      title: 'Changed claims',
      items: claims.map(({ paper, title, claim, before, now, here }) => ({
        text: `${title}: ${claim}`,
        detail: `${now}${here ? ` (${here})` : ''}; before: ${before}`,
        path: `/papers/${encodeURIComponent(paper)}`,
      })),
    },
    {
      title: 'Runs',
      items: runs.map(({ id, command, subject, status }) => ({
        text: `${[command, subject].filter(Boolean).join(' ')}: ${status}`,
        detail: id,
        path: `/runs/${encodeURIComponent(id)}`,
      })),
    },
  ].filter(({ items }) => items.length > 0)

/** The digest as a mail. Its one click is that of RFC 8058. */
export const digestMail = (news: News, to: string, token: string, url: string): Mail => {
  const sections = sectionsOf(news)
  const leave = `${url}/unsubscribe/${token}`
  const text = sections.map(({ title, items }) =>
    [title, ...items.map((item) => `- ${item.text}\n  ${item.detail}\n  ${url}${item.path}`)].join('\n\n'),
  )
  const body = sections.map(
    ({ title, items }) =>
      html`<h2>${title}</h2>
        <ul>
          ${items.map((item) => html`<li><a href="${url}${item.path}">${item.text}</a><br />${item.detail}</li>`)}
        </ul>`,
  )
  return {
    to,
    subject: `Weft lab: ${subjectOf(news)}`,
    text: `${text.join('\n\n\n')}\n\n--\nNo more of these: ${leave}\n`,
    html: String(
      html`<!doctype html>
        <html lang="en">
          <body>
            ${body}
            <p><a href="${leave}">Unsubscribe</a></p>
          </body>
        </html>`,
    ),
    headers: {
      'List-Unsubscribe': `<${leave}>`,
      'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click',
      'Auto-Submitted': 'auto-generated',
    },
  }
}

/** Sends digests when they are due. */
export class Digests {
  private timer: NodeJS.Timeout | undefined
  private sending: Promise<number> = Promise.resolve(0)

  constructor(private readonly options: DigestOptions) {}

  /** Looks every ten minutes whether it is time. */
  start(): void {
    if (!this.options.mailbox) return
    this.timer = setInterval(() => void this.send(lastDue(new Date(), this.options.hour)), hour / 6)
    this.timer.unref()
  }

  async stop(): Promise<void> {
    clearInterval(this.timer)
    await this.sending.catch(() => undefined)
  }

  /** Sends to everyone who was last told before `due` and for whom there is news. Returns how many mails went out. */
  send(due: Date): Promise<number> {
    const next = this.sending.catch(() => 0).then(() => this.sendNow(due.toISOString()))
    this.sending = next
    return next
  }

  private async sendNow(due: string): Promise<number> {
    const { db, journal, mailbox, url, warn } = this.options
    if (!mailbox) return 0
    const readers = await db
      .selectFrom('subscriptions')
      .selectAll()
      .where('confirmed', 'is not', null)
      .where('told', '<', due)
      .execute()
    let sent = 0
    for (const { email, token, told, topics } of readers) {
      const now = new Date().toISOString()
      const news = await newsOf(this.options, { since: told, until: now }, topics)
      if (news.papers.length + news.runs.length + news.claims.length === 0) continue
      try {
        await mailbox.send(digestMail(news, email, token, url()))
        await journal.record({ type: 'told', token }, now)
        sent++
      } catch (error) {
        // The next one is tried all the same; this one is again when the next look comes.
        warn?.(
          `the digest for ${email} could not be sent: ${error instanceof Error ? error.message : String(error)}`,
        )
      }
    }
    return sent
  }
}
