/** @file Sends mail over SMTP. */
import type { Transporter } from 'nodemailer'

export interface Mail {
  to: string
  subject: string
  text: string
  html?: string
  headers?: Record<string, string>
}

/** A mail server and the address that mails come from. */
export class Mailbox {
  private transport: Promise<Transporter> | undefined

  /** `url`: `smtp://user:password@host:587`, `smtps://...`. `patience`: milliseconds that the server may keep silent. */
  constructor(
    private readonly url: string,
    private readonly from: string = 'Weft lab <weft-lab@localhost>',
    private readonly patience: number = 20_000,
  ) {}

  private async open(): Promise<Transporter> {
    const { createTransport } = await import('nodemailer')
    const { patience } = this
    const limits = { connectionTimeout: patience, greetingTimeout: patience, socketTimeout: patience }
    // A mail is made of what the lab says; nothing in it may read files or fetch addresses.
    return createTransport({ url: this.url, ...limits, disableFileAccess: true, disableUrlAccess: true })
  }

  async send(mail: Mail): Promise<void> {
    this.transport ??= this.open()
    await (await this.transport).sendMail({ from: this.from, ...mail })
  }

  async close(): Promise<void> {
    ;(await this.transport)?.close()
  }
}
