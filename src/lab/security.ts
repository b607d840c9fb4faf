/**
 * @file Who may ask what. On the loopback anyone at this machine may read, and only the lab's own page may change
 * anything; bound wider, everything needs the token. Pages of other sites get nothing either way.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { MiddlewareHandler } from 'hono'
import { getCookie, setCookie } from 'hono/cookie'
import { HttpError } from './errors.js'

/** What requests know of who sent them. */
export interface LabEnv {
  Variables: {
    /** Names a browser for its votes; nothing else is known of it. */
    visitor: string
  }
}

/** How the lab is guarded. */
export interface Guard {
  readonly token: string
  /** Bound to the loopback alone. */
  readonly local: boolean
}

/** A secret that fits in a URL. */
export const secret = (): string => randomBytes(24).toString('base64url')

/** The token in the file `path`, made when there is none. Only the owner may read the file. */
export const tokenIn = async (path: string): Promise<string> => {
  const known = (await readFile(path, 'utf8').catch(() => '')).trim()
  if (/^[\w-]{20,}$/.test(known)) return known
  const token = secret()
  await mkdir(dirname(path), { recursive: true, mode: 0o700 })
  await writeFile(path, `${token}\n`, { mode: 0o600 })
  return token
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest()

/** Whether two secrets are the same, in a time that does not tell where they differ. */
export const sameSecret = (a: string, b: string): boolean => timingSafeEqual(digest(a), digest(b))

/** Whether a host is this machine's loopback. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || host === '[::1]' || /^127(\.\d{1,3}){3}$/.test(host)

const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "font-src 'self'",
  "connect-src 'self'",
  "form-action 'self'",
  "frame-ancestors 'none'",
  "base-uri 'none'",
].join('; ')

/** Headers of every answer. */
export const safeHeaders: MiddlewareHandler = async (c, next) => {
  await next()
  const headers: Record<string, string> = {
    'content-security-policy': policy,
    'x-content-type-options': 'nosniff',
    'referrer-policy': 'same-origin',
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-resource-policy': 'same-origin',
  }
  for (const [name, value] of Object.entries(headers)) if (!c.res.headers.has(name)) c.header(name, value)
}

/** A name that leads here while the page is another site's (DNS rebinding) is not ours. */
export const ownHost =
  ({ local }: Guard): MiddlewareHandler =>
  async (c, next) => {
    const { hostname } = new URL(c.req.url)
    if (local && !isLoopback(hostname))
      throw new HttpError(
        403,
        'ForeignHost',
        `this lab is reached as localhost or 127.0.0.1, not ${JSON.stringify(hostname)}`,
      )
    await next()
  }

const day = 24 * 60 * 60

/** Script and styles of the page, which are the same for everyone. */
const isBuilt = (path: string): boolean => path.startsWith('/assets/') || path === '/favicon.svg'

/** Bound wider, every request carries the token. Links in mails carry their own secret and are let through. */
export const tokenToRead =
  ({ token, local }: Guard): MiddlewareHandler =>
  async (c, next) => {
    const path = c.req.path
    if (local || isMailLink(path) || isBuilt(path)) return next()
    const queryToken = c.req.query('token')
    if (queryToken !== undefined && c.req.method === 'GET' && sameSecret(queryToken, token)) {
      setCookie(c, 'weft_token', token, { httpOnly: true, sameSite: 'Lax', path: '/', maxAge: 30 * day })
      const url = new URL(c.req.url)
      url.searchParams.delete('token')
      return c.redirect(`${url.pathname}${url.search}`)
    }
    const bearer = /^Bearer (.+)$/.exec(c.req.header('authorization') ?? '')?.[1]
    const shown = bearer ?? getCookie(c, 'weft_token')
    if (shown === undefined || !sameSecret(shown, token))
      throw new HttpError(401, 'TokenNeeded', 'this lab needs its token', {
        hint: 'Open the address that `weft lab` printed, or send Authorization: Bearer TOKEN.',
      })
    await next()
  }

/** Pages that a mail leads to, and the mail programs' one click. */
const isMailLink = (path: string): boolean => /^\/(confirm|unsubscribe)\/[\w-]+$/.test(path)

const safeMethods = new Set(['GET', 'HEAD'])

/** A request that changes something comes from the lab's own page, or from a program that has the token. */
export const tokenToChange =
  ({ token }: Guard): MiddlewareHandler =>
  async (c, next) => {
    if (safeMethods.has(c.req.method)) return next()
    const link = isMailLink(c.req.path)
    checkOrigin(c.req.header('origin'), c.req.header('sec-fetch-site'), new URL(c.req.url).host)
    if (link) return next()
    const bearer = /^Bearer (.+)$/.exec(c.req.header('authorization') ?? '')?.[1]
    const shown = c.req.header('x-weft-token') ?? bearer
    if (shown === undefined || !sameSecret(shown, token))
      throw new HttpError(401, 'TokenNeeded', 'requests that change something need the header X-Weft-Token')
    if (!/^application\/json(;|$)/i.test(c.req.header('content-type') ?? ''))
      throw new HttpError(415, 'NotJson', 'expected Content-Type: application/json')
    await next()
  }

const checkOrigin = (origin: string | undefined, site: string | undefined, host: string): void => {
  const sameOrigin = origin === undefined || (URL.canParse(origin) && new URL(origin).host === host)
  if (sameOrigin && (site === undefined || site === 'same-origin' || site === 'none')) return
  throw new HttpError(403, 'ForeignOrigin', 'pages of other sites cannot change anything here')
}

/** Gives every browser a name of its own, by which its votes count once. */
export const visitors: MiddlewareHandler<LabEnv> = async (c, next) => {
  const known = getCookie(c, 'weft_visitor')
  const visitor = known !== undefined && /^[\w-]{32}$/.test(known) ? known : secret()
  c.set('visitor', visitor)
  await next()
  if (visitor !== known)
    setCookie(c, 'weft_visitor', visitor, { httpOnly: true, sameSite: 'Lax', path: '/', maxAge: 365 * day })
}
