/** @file Who gets the digest. An address subscribes by asking and then by answering a mail; it leaves with one click. */
import type { Topic } from '../api.js'
import { HttpError } from '../errors.js'
import type { Database } from '../index/database.js'
import type { Journal } from '../index/journal.js'
import { topics as allTopics } from '../requests.js'
import { secret } from '../security.js'
import type { Mailbox } from './mailbox.js'

/** Milliseconds before an address is written to again because someone asked. */
const pause = 60_000
/** Confirmations sent in an hour, over all addresses. */
const mostAnHour = 60

/** A subscription as the pages see it. */
export interface Subscription {
  email: string
  token: string
  confirmed: boolean
}

/** What subscriptions need. */
export interface SubscriptionsOptions {
  db: Database
  journal: Journal
  mailbox?: Mailbox
  url: () => string
}

/** The subscriptions by e-mail. */
export class Subscriptions {
  private sent: number[] = []

  constructor(private readonly options: SubscriptionsOptions) {}

  /**
   * Notes the wish of `email` and sends a mail with a link that confirms it. Throws HttpError 503 without a mail
   * server, 429 when too many have asked.
   */
  async ask(address: string, topics: readonly Topic[] = allTopics): Promise<void> {
    const { db, journal, mailbox } = this.options
    if (!mailbox)
      throw new HttpError(503, 'NoMail', 'this lab sends no mail', { hint: 'Start it with SMTP_URL set.' })
    const email = address.toLowerCase()
    const known = await db
      .selectFrom('subscriptions')
      .selectAll()
      .where('email', '=', email)
      .executeTakeFirst()
    // Who has confirmed is left alone: anyone may type anyone's address.
    if (known?.confirmed) return
    if (known && Date.parse(known.asked) > Date.now() - pause) return
    this.count()
    const token = known?.token ?? secret()
    await journal.record({ type: 'subscribe', email, token, topics: [...topics] })
    await this.sendConfirmation(email, token, mailbox)
  }

  private count(): void {
    const hourAgo = Date.now() - 60 * 60_000
    this.sent = this.sent.filter((at) => at > hourAgo)
    if (this.sent.length >= mostAnHour)
      throw new HttpError(429, 'TooManyMails', 'too many addresses have asked; try again in an hour')
    this.sent.push(Date.now())
  }

  private async sendConfirmation(email: string, token: string, mailbox: Mailbox): Promise<void> {
    const url = this.options.url()
    try {
      await mailbox.send({
        to: email,
        subject: 'Confirm your subscription to Weft lab',
        text: [
          `Someone, hopefully you, asked for the daily digest of the Weft lab at ${url}.`,
          `If you want it, confirm here:\n\n${url}/confirm/${token}`,
          'If not, ignore this mail: nothing will be sent to you.',
        ].join('\n\n'),
        headers: { 'Auto-Submitted': 'auto-generated' },
      })
    } catch {
      throw new HttpError(503, 'MailFailed', 'the mail server did not take the mail; try again later')
    }
  }

  /** The subscription that a link names. */
  async find(token: string): Promise<Subscription | undefined> {
    const row = await this.options.db
      .selectFrom('subscriptions')
      .selectAll()
      .where('token', '=', token)
      .executeTakeFirst()
    return row && { email: row.email, token, confirmed: row.confirmed !== null }
  }

  /** Returns whether there was such a subscription. */
  async confirm(token: string): Promise<boolean> {
    const pending = await this.find(token)
    if (pending && !pending.confirmed) await this.options.journal.record({ type: 'confirm', token })
    return pending !== undefined
  }

  /** Doing it again changes nothing. */
  async leave(token: string): Promise<void> {
    if (await this.find(token)) await this.options.journal.record({ type: 'unsubscribe', token })
  }
}
