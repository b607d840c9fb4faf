import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { SMTPServer } from 'smtp-server'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { post, scratch, until, writeRun } from '../../../test/lab.js'
import { writeListed } from '../../catalogue/sync/listed.js'
import { openLab } from '../lab.js'
import type { Lab } from '../lab.js'
import { lastDue } from './digest.js'

interface Received {
  to: string[]
  from: string
  text: string
}

const { folder, remove } = scratch('mail')
const home = join(folder, 'runs')
const url = 'https://lab.example.org'
const mails: Received[] = []
let refuse = ''
let lab: Lab
/** Paths that end the subscriptions of a test. */
let leaving: string[] = []

/** A mail as it was meant: quoted-printable and folded headers undone. */
const readable = (raw: string): string =>
  raw
    .replace(/\r\n/g, '\n')
    .replace(/\n[ \t]+/g, ' ')
    .replace(/=\n/g, '')
    .replace(/=([0-9A-F]{2})/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)))

const smtp = new SMTPServer({
  authOptional: true,
  disabledCommands: ['STARTTLS', 'AUTH'],
  onRcptTo: ({ address }, _session, done) => done(address === refuse ? new Error('no such mailbox') : null),
  onData: (stream, { envelope: { mailFrom, rcptTo } }, done) => {
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    stream.on('end', () => {
      mails.push({
        to: rcptTo.map(({ address }) => address),
        from: mailFrom === false ? '' : mailFrom.address,
        text: readable(Buffer.concat(chunks).toString()),
      })
      done()
    })
  },
})

beforeAll(async () => {
  await new Promise<void>((done) => smtp.listen(0, '127.0.0.1', done))
  const { port } = smtp.server.address() as AddressInfo
  const smtpUrl = `smtp://127.0.0.1:${port}`
  lab = await openLab({ home, smtpUrl, from: 'lab@example.org', url: () => url, interval: 1e6 })
  await lab.ready
})
afterEach(async () => {
  for (const path of leaving) await lab.app.request(path, { method: 'POST' })
  leaving = []
  mails.length = 0
  refuse = ''
})
afterAll(async () => {
  await lab.close()
  await new Promise<void>((done) => smtp.close(done))
  remove()
})

const subscribe = (email: string, topics?: string[]): Response | Promise<Response> =>
  lab.app.request('/api/subscribe', post(lab.token, topics ? { email, topics } : { email }))

/** The path after the lab's address in the last mail's link to `page`. */
const linkTo = (page: string): string => new RegExp(`${url}(/${page}/[\\w-]+)`).exec(mails.at(-1)!.text)![1]

const confirmed = async (email: string, topics?: string[]): Promise<void> => {
  expect((await subscribe(email, topics)).status).toBe(202)
  await confirm()
  mails.length = 0
}

const confirm = async (): Promise<void> => {
  const path = linkTo('confirm')
  expect((await lab.app.request(path, { method: 'POST' })).status).toBe(200)
  leaving.push(path.replace('confirm', 'unsubscribe'))
}

/** A time later than everything so far. */
const now = async (): Promise<string> => {
  await new Promise((done) => setTimeout(done, 3))
  return new Date().toISOString()
}

const later = (): Date => new Date(Date.now() + 1000)

const reproduced = (id: string, verdict: string, ended: string): void => {
  const claim = { text: 'a higher rank is better', verdict, mean: 0.9, spread: 0, unit: 'of lora2' }
  const result = { paper: 'lora', quick: false, seeds: [0], arms: {}, claims: [claim], plots: [], seconds: 1 }
  writeRun(home, id, {
    command: 'reproduce',
    subject: 'lora',
    result: result as never,
    started: ended,
    ended,
  })
}

describe('a subscription', () => {
  test('is asked for, confirmed by mail, served and ended with one click', async () => {
    await subscribe('Reader@Example.org')
    expect(mails).toHaveLength(1)
    expect(mails[0]).toMatchObject({ to: ['reader@example.org'], from: 'lab@example.org' })
    const link = linkTo('confirm')

    writeRun(home, 'first', { ended: await now() })
    await lab.look()
    expect(await lab.digest(later())).toBe(0)

    const asked = await (await lab.app.request(link)).text()
    expect(asked).toContain(`<form method="post" action="${link}"`)
    expect(await lab.digest(later())).toBe(0)
    expect((await lab.app.request(link, { method: 'POST' })).status).toBe(200)
    expect(await lab.digest(later())).toBe(1)
    const digest = mails.at(-1)!
    expect(digest.to).toEqual(['reader@example.org'])
    expect(digest.text).toContain(`${url}/runs/first`)
    expect(digest.text).toContain('List-Unsubscribe-Post: List-Unsubscribe=One-Click')
    const leave = /List-Unsubscribe: <(.*?)>/.exec(digest.text)![1]
    expect(leave.startsWith(`${url}/unsubscribe/`)).toBe(true)
    expect(await lab.digest(later())).toBe(0)

    writeRun(home, 'second', { ended: await now() })
    await lab.look()
    const path = leave.slice(url.length)
    expect((await lab.app.request(path)).status).toBe(200)
    const body = 'List-Unsubscribe=One-Click'
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    expect((await lab.app.request(path, { method: 'POST', body, headers })).status).toBe(200)
    expect(await lab.digest(later())).toBe(0)
    expect((await lab.app.request(path, { method: 'POST', body, headers })).status).toBe(200)
    expect((await lab.app.request(link)).status).toBe(404)
  })

  test('says the same whether the address is known, and does not write to it again and again', async () => {
    const first = await subscribe('a@example.org')
    const second = await subscribe('a@example.org')
    expect([first.status, await first.text()]).toEqual([second.status, await second.text()])
    expect(mails).toHaveLength(1)
    await confirm()
    expect((await subscribe('a@example.org', ['papers'])).status).toBe(202)
    expect(mails).toHaveLength(1)
  })

  test.each([
    'nobody',
    'a@b@c',
    'a@example.org\r\nBcc: other@example.org',
    'x'.repeat(300) + '@example.org',
    '',
  ])('is not for %j', async (email) => {
    expect((await subscribe(email)).status).toBe(400)
    expect(mails).toEqual([])
  })

  test('that the mail server refuses is an error, not a crash', async () => {
    refuse = 'refused@example.org'
    const response = await subscribe(refuse)
    expect(response.status).toBe(503)
    expect(((await response.json()) as { error: { code: string } }).error.code).toBe('MailFailed')
  })
})

describe('a digest', () => {
  test('tells of claims that stand otherwise than before', async () => {
    await confirmed('claims@example.org', ['claims'])
    reproduced('old', 'holds', '2026-01-01T00:00:00.000Z')
    reproduced('same', 'holds', await now())
    await lab.look()
    expect(await lab.digest(later())).toBe(0)
    reproduced('new', 'fails', await now())
    await lab.look()
    expect(await lab.digest(later())).toBeGreaterThan(0)
    const mail = mails.find(({ to }) => to[0] === 'claims@example.org')!
    expect(mail.text).toContain('a higher rank is better')
    expect(mail.text).toContain('does not hold (0.9 of lora2); before: holds')
    expect(mail.text).toContain(`${url}/papers/lora`)
  })

  test('tells once of papers that sync has found', async () => {
    await confirmed('papers@example.org', ['papers'])
    await writeListed(home, {
      id: '2601.01234',
      arxiv: '2601.01234',
      title: 'A Paper Nobody Has Seen',
      date: '2026-01-02',
      published: '2026-01-02T00:00:00.000Z',
      names: ['Ada Lovelace'],
      authors: 1,
      family: 'cs.LG',
      summary: 'About <weights> & more.',
      claims: [],
      from: 'arxiv',
    })
    await until(async () => (await lab.app.request('/api/papers/2601.01234')).status === 200)
    await until(async () => (await lab.digest(later())) === 1)
    expect(mails[0].text).toContain(`${url}/papers/2601.01234`)
    expect(mails[0].text).toContain('About &lt;weights&gt; &amp; more.')
    expect(await lab.digest(later())).toBe(0)
    const daily = await lab.app.request('/api/daily_papers?date=2026-01-02')
    expect(await daily.json()).toMatchObject([
      { paper: { id: '2601.01234', authors: [{ name: 'Ada Lovelace' }] } },
    ])
  })

  test('that one mailbox refuses still goes to the others', async () => {
    await confirmed('one@example.org', ['runs'])
    await confirmed('two@example.org', ['runs'])
    refuse = 'one@example.org'
    writeRun(home, 'third', { ended: await now() })
    await lab.look()
    await lab.digest(later())
    expect(mails.flatMap(({ to }) => to)).toContain('two@example.org')
    expect(mails.flatMap(({ to }) => to)).not.toContain('one@example.org')
    refuse = ''
    mails.length = 0
    expect(await lab.digest(later())).toBe(1)
    expect(mails[0].to).toEqual(['one@example.org'])
  })

  test('is due once a day at its hour', () => {
    const at = (text: string): Date => new Date(`2026-03-05T${text}`)
    expect(lastDue(at('08:00:00'), 7)).toEqual(at('07:00:00'))
    expect(lastDue(at('06:59:59'), 7)).toEqual(new Date('2026-03-04T07:00:00'))
    expect(lastDue(at('07:00:00'), 7)).toEqual(at('07:00:00'))
  })

  test('can be asked for by who has the token', async () => {
    expect((await lab.app.request('/api/digest', post('wrong', {}))).status).toBe(401)
    expect(await (await lab.app.request('/api/digest', post(lab.token, {}))).json()).toEqual({ sent: 0 })
  })
})

test('a mail server that says nothing is given up on', async () => {
  const silent = createServer(() => undefined).listen(0, '127.0.0.1')
  await new Promise((done) => silent.once('listening', done))
  const { Mailbox } = await import('./mailbox.js')
  const mailbox = new Mailbox(`smtp://127.0.0.1:${(silent.address() as AddressInfo).port}`, 'a@b.c', 300)
  await expect(mailbox.send({ to: 'x@y.z', subject: '', text: '' })).rejects.toThrow()
  await mailbox.close()
  silent.close()
  await until(() => !silent.listening)
})
